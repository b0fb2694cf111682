"""launch/textproto.py and launch/recipe_data.py: recipes are read and edited without losing a
comment."""

from __future__ import annotations

import unittest

import tool_case
import textproto
from recipe_data import RecipeSource, edit_recipe
from tool_errors import UsageError

SOURCES = [RecipeSource("a", "11", 1.0), RecipeSource('b"', "22", 0.25)]


class TextprotoTest(unittest.TestCase):
    def test_values_of_every_kind_are_read(self) -> None:
        text = (
            "a: 1 b: -2.5e3, c: true; d: 'x' \"y\\n\\x41\\303\\274\"  # note\n"
            "e { f: 1 f: 2 } g: < h: KIND > i: [1, 2] j: [] e: { k: 3 }"
        )
        message = textproto.parse(text, "t")
        self.assertEqual([message.get(name) for name in "abcd"], [1, -2500.0, True, "xy\nAü"])
        self.assertEqual(message.message("g").get("h"), "KIND")
        self.assertEqual([field.value for field in message.all("i")], [1, 2])
        self.assertEqual(message.message("e").get("k"), 3)
        self.assertEqual(len(message.all("e")), 2)
        self.assertEqual(textproto.parse("", "t").fields, [])

    def test_damaged_text_is_refused_with_its_line(self) -> None:
        for text in (
            "a", "a:", "a: }", "a { b: 1", "}", "a: 'x", "a: [1", "a: [1 2]", ": 1", "a: 1 }",
            "\x00",
            "a {" * 100_000, "a: [" * 100_000, "a < b: 1 }", "a: 1 'b': 2", "a: \"\\",
        ):  # fmt: skip
            with self.assertRaisesRegex(UsageError, "^t:1: ", msg=text[:20]):
                textproto.parse(text, "t")

    def test_quoted_strings_are_read_back(self) -> None:
        for text in ("", 'a"b\\c\nd', "ü"):
            self.assertEqual(textproto.parse(f"a: {textproto.quoted(text)}", "t").get("a"), text)


class EditRecipeTest(tool_case.ToolCase):
    def edit(self, text: str) -> str:
        return edit_recipe(self.write("r.textproto", text), SOURCES, "33", 500)

    def check(self, text: str) -> None:
        recipe = textproto.parse(text, "edited")
        data = recipe.message("data")
        ids = [field.value.get("id") for field in data.all("source")]
        self.assertEqual(ids, ["a", 'b"'])
        self.assertEqual(data.get("tokenizer_digest"), "33")
        self.assertEqual(len(data.all("tokenizer_digest")), 1)
        self.assertEqual([f.value for f in recipe.message("model").all("vocab_size")], [500])

    def test_old_sources_go_and_comments_stay(self) -> None:
        text = self.edit(
            "# first\nmodel {\n  vocab_size: 7  # rows\n  hidden_size: 8\n}\n"
            "data {\n  # where from\n  source { id: 'x' }\n  source {\n    id: 'y'\n  }\n"
            "  tokenizer_digest: 'z'\n  stop_at_documents: true\n}\nsteps: 5  # few\n"
        )
        self.check(text)
        for kept in (
            "# first",
            "# rows",
            "# where from",
            "stop_at_documents: true",
            "steps: 5  # few",
        ):
            self.assertIn(kept, text)
        self.assertNotIn("'y'", text)
        self.assertNotIn("\n\n", text)

    def test_missing_parts_are_added(self) -> None:
        self.check(self.edit("model { hidden_size: 8 }"))
        self.check(self.edit("data {} model { hidden_size: 8 } # end without a line end"))

    def test_one_line_recipes_are_edited_too(self) -> None:
        self.check(
            self.edit("model{vocab_size:1}data{source{id:'x'}source{id:'y'}tokenizer_digest:'q'}")
        )

    def test_sources_that_the_recipe_names_keep_its_weights(self) -> None:
        text = self.edit("model { x: 1 } data { source { id: 'a' weight: 7 } }")
        sources = textproto.parse(text, "t").message("data").all("source")
        self.assertEqual([field.value.get("weight") for field in sources], [7, 0.25])
        text = self.edit("model { x: 1 } data { source { id: 'a' } }")
        sources = textproto.parse(text, "t").message("data").all("source")
        self.assertEqual([field.value.get("weight") for field in sources], [1, 0.25])

    def test_a_text_without_a_model_is_refused(self) -> None:
        with self.assertRaisesRegex(UsageError, "no model"):
            self.edit("steps: 5")


if __name__ == "__main__":
    unittest.main()
