{{%AUTOESCAPE context="HTML"}}<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{{TITLE}} – kente</title>
<style>
:root {
  --page: #f6f6f3; --card: #ffffff; --ink: #1b1d22; --soft: #5d626d; --line: #e3e3de; --grid: #ecece8;
  --blue: #2563c9; --amber: #c26a00; --teal: #0d8577; --violet: #7a4fc4; --rose: #bf3a5b; --olive: #67781b;
  --wait: #e6e6e1; --accent: #0d8577; --good: #0d7a4f;
  --on: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #131519; --card: #1c1f25; --ink: #e9eaee; --soft: #9aa1ad; --line: #2d323b; --grid: #282c34;
    --blue: #7aa9f5; --amber: #eea54a; --teal: #4ec2b2; --violet: #b797f0; --rose: #f08aa3; --olive: #b3c460;
    --wait: #2b3038; --accent: #4ec2b2; --good: #5fd0a0;
    --on: #14161a;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 28px 20px 56px; }
header { margin-bottom: 20px; }
.weave { height: 8px; border-radius: 4px; margin-bottom: 22px; background: repeating-linear-gradient(90deg,
  var(--amber) 0 28px, var(--teal) 28px 56px, var(--rose) 56px 70px, var(--blue) 70px 98px, var(--olive) 98px 112px); }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 4px; letter-spacing: -.01em; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 2px; }
p { margin: 0; }
.soft { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 18px 20px;
  margin-top: 16px; }
section > p { margin-bottom: 10px; color: var(--soft); font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 13px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.25; font-weight: 650; letter-spacing: -.01em;
  font-variant-numeric: tabular-nums; white-space: nowrap; }
.tile span { color: var(--soft); font-size: 13px; display: block; }
.tile .good { color: var(--good); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: 13px; color: var(--soft); margin: 4px 0 8px; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 3px; margin-right: 6px;
  vertical-align: -1px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
.scroll { overflow-x: auto; }
.scroll > svg { min-width: 860px; }
.data table { min-width: 640px; }
.narrow { display: none; }
.grid line { stroke: var(--grid); } .axis line { stroke: var(--soft); stroke-opacity: .5; }
.labels text { fill: var(--soft); font-variant-numeric: tabular-nums; }
.series polyline { fill: none; stroke: currentColor; stroke-width: 1.8; stroke-linejoin: round; }
.series circle { fill: currentColor; }
.s-train { color: var(--blue); } .s-valid { color: var(--amber); } .s-speed { color: var(--teal); }
.s-valid polyline { stroke-width: 2.2; }
.cursor { stroke: var(--soft); stroke-dasharray: 3 3; visibility: hidden; }
.lane { fill: var(--wait); fill-opacity: .55; } .timeline .name { fill: var(--ink); text-anchor: end; }
.span text { text-anchor: middle; fill: var(--on); font-size: 11px; font-weight: 600; pointer-events: none; }
.fwd { fill: var(--blue); background: var(--blue); } .bwd { fill: var(--teal); background: var(--teal); }
.wgt { fill: var(--violet); background: var(--violet); } .comm { fill: var(--amber); background: var(--amber); }
.other { fill: var(--olive); background: var(--olive); } .wait { fill: var(--wait); background: var(--wait); }
.span rect { stroke: var(--card); stroke-width: .7; }
.plan .head { font-weight: 650; font-size: 13px; fill: var(--ink); } .plan .body { fill: var(--ink); }
.plan .note { fill: var(--soft); font-size: 11px; }
.stage rect { fill: currentColor; fill-opacity: .15; stroke: currentColor; stroke-opacity: .75; }
.shade0 { color: var(--blue); } .shade1 { color: var(--teal); } .shade2 { color: var(--violet); }
.shade3 { color: var(--amber); } .shade4 { color: var(--rose); } .shade5 { color: var(--olive); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; color: var(--soft); font-weight: 500; font-size: 13px; }
th, td { padding: 6px 14px 6px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
tr:last-child td { border-bottom: 0; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.bar { vertical-align: middle; } .bar { width: 22%; min-width: 90px; padding-right: 0; }
.bar div { height: 7px; border-radius: 4px; margin-top: 3px; }
.bar .ours { background: var(--blue); } .bar .theirs { background: var(--soft); opacity: .45; }
.phases { width: 30%; min-width: 150px; } .phases div { display: flex; height: 12px; border-radius: 3px; overflow: hidden; }
.stack { display: flex; height: 16px; border-radius: 4px; overflow: hidden; margin: 4px 0 14px; }
.roofline .roof { stroke: var(--ink); stroke-width: 1.6; } .roofline .lead { stroke: var(--line); }
.roofline .grid line { stroke: var(--line); } .roofline circle { fill-opacity: .75; } .roofline text { fill: var(--ink); font-size: 12px; }
.roofline .labels text { fill: var(--soft); }
.compared tr:nth-child(even) td { border-bottom: 0; padding-bottom: 0; }
code, pre { font: 12.5px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
.hex { font: 12px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; color: var(--soft); }
pre { margin: 8px 0 0; padding: 12px 14px; background: var(--page); border-radius: 8px; overflow: auto; max-height: 460px; }
details { margin-top: 10px; } summary { cursor: pointer; color: var(--accent); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 8px 0 0; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
#tip { position: fixed; display: none; background: var(--ink); color: var(--page); padding: 5px 9px; border-radius: 6px;
  font-size: 12.5px; pointer-events: none; white-space: pre; font-variant-numeric: tabular-nums; z-index: 2; }
footer { margin-top: 22px; color: var(--soft); font-size: 13px; }
@media (max-width: 640px) {
  main { padding: 18px 12px 40px; } section { padding: 14px; } h1 { font-size: 24px; }
  .tiles { grid-template-columns: 1fr 1fr; gap: 8px; } .tile { padding: 10px 12px; } .tile b { font-size: 20px; }
  .wide { display: none; } .narrow { display: block; } .bar { display: none; }
}
</style>
</head>
<body>
<main>
<header>
<div class="weave"></div>
<h1>{{TITLE}}</h1>
<p class="soft">{{SUBTITLE}}</p>
</header>
<div class="tiles">{{#TILE}}
<div class="tile"><span>{{NAME}}</span><b>{{VALUE}}</b><span{{#GOOD}} class="good"{{/GOOD}}>{{NOTE}}</span></div>{{/TILE}}
</div>
{{#EMPTY}}<section><h2>No steps yet</h2><p>This run has not finished a step: run.jsonl holds no line.</p></section>{{/EMPTY}}
{{#LOSS}}<section>
<h2>Loss</h2><p>Mean nats per token; held-back documents beside the training batches.</p>
<div class="legend"><span><i style="background:var(--blue)"></i>training</span>{{#VALIDATED}}<span><i style="background:var(--amber)"></i>held back</span>{{/VALIDATED}}</div>
<div class="wide">{{WIDE:none}}</div><div class="narrow">{{NARROW:none}}</div>
</section>{{/LOSS}}
{{#SOURCES}}<section>
<h2>Held-back text, source by source</h2><p>Bits per byte after the last validation: lower is better. Beside it a byte trigram fitted on the same training text.</p>
<div class="scroll"><table><tr><th>source</th><th>language</th><th class="n">loss</th><th class="n">bits / byte</th><th class="n">byte trigram</th><th class="bar"></th></tr>{{#ROW}}
<tr><td>{{NAME}}</td><td>{{LANGUAGE}}</td><td class="n">{{LOSS}}</td><td class="n"><b>{{BITS}}</b></td><td class="n soft">{{TRIGRAM}}</td><td class="bar"><div class="ours" style="width:{{OURS}}%"></div><div class="theirs" style="width:{{THEIRS}}%"></div></td></tr>{{/ROW}}
</table></div>
</section>{{/SOURCES}}
{{#SPEED}}<section>
<h2>Speed</h2><p>Tokens per second, all ranks together.</p>
<div class="wide">{{WIDE:none}}</div><div class="narrow">{{NARROW:none}}</div>
</section>{{/SPEED}}
{{#TIMELINE}}<section>
<h2>One step, rank by rank</h2><p>Each block is one micro-batch's pass through a stage; its number is the micro-batch. Grey is waiting.</p>
<div class="legend"><span><i class="fwd"></i>F forward</span><span><i class="bwd"></i>B backward, inputs</span><span><i class="wgt"></i>W backward, weights</span><span><i class="other"></i>other compute</span><span><i class="comm"></i>communication</span><span><i class="wait"></i>waiting</span></div>
<div class="scroll">{{PICTURE:none}}</div>
<div class="scroll"><table><tr><th>rank</th><th class="n">compute</th><th class="n">communication</th><th class="n">waiting</th></tr>{{#RANK}}
<tr><td>{{RANK_NUMBER}}</td><td class="n">{{COMPUTE}}</td><td class="n">{{COMM}}</td><td class="n">{{WAIT}}</td></tr>{{/RANK}}
</table></div>
</section>{{/TIMELINE}}
{{#COMPARED}}<section>
<h2>Predicted and measured</h2><p>A step took {{MEASURED}}, the plan predicted {{PREDICTED}} from the cluster's profile: {{OFF}}. Below, where each rank's time went up to step {{STEP}}; the last column compares the time it was busy.</p>
<div class="legend"><span><i class="fwd"></i>forward</span><span><i class="bwd"></i>backward, inputs</span><span><i class="wgt"></i>backward, weights</span><span><i class="other"></i>optimizer</span><span><i class="wait"></i>waiting</span></div>
<div class="scroll"><table class="compared"><tr><th>rank</th><th></th><th class="phases"></th><th class="n">forward</th><th class="n">inputs</th><th class="n">weights</th><th class="n">optimizer</th><th class="n">waiting</th><th class="n">off by</th></tr>{{#ROW}}
<tr><td>{{NAME}}</td><td class="soft">{{WHAT}}</td><td class="phases"><div class="wait"><i class="fwd" style="width:{{FORWARD_WIDTH}}%"></i><i class="bwd" style="width:{{INPUT_WIDTH}}%"></i><i class="wgt" style="width:{{WEIGHT_WIDTH}}%"></i><i class="other" style="width:{{OPTIMIZER_WIDTH}}%"></i></div></td><td class="n">{{FORWARD}}</td><td class="n">{{INPUT}}</td><td class="n">{{WEIGHT}}</td><td class="n">{{OPTIMIZER}}</td><td class="n">{{WAIT}}</td><td class="n"><b>{{BUSY_OFF}}</b></td></tr>{{/ROW}}
</table></div>
</section>{{/COMPARED}}
{{#OPS}}<section>
<h2>Where a step's time goes</h2><p>One step, all ranks together: products {{PRODUCTS}}, operations that only move bytes {{MEMORY}}, communication {{COMM}}, waiting {{WAIT}}, between operations {{ELSEWHERE}}.</p>
<div class="legend"><span><i class="fwd"></i>products</span><span><i class="bwd"></i>bytes moved</span><span><i class="comm"></i>communication</span><span><i class="wait"></i>waiting</span><span><i class="other"></i>between operations</span></div>
<div class="stack"><i class="fwd" style="width:{{PRODUCTS_WIDTH}}%"></i><i class="bwd" style="width:{{MEMORY_WIDTH}}%"></i><i class="comm" style="width:{{COMM_WIDTH}}%"></i><i class="wait" style="width:{{WAIT_WIDTH}}%"></i><i class="other" style="width:{{ELSEWHERE_WIDTH}}%"></i></div>
<p>Below, what each operation took, in blue what it takes at least on this machine: the longer of its FLOPs at {{FLOPS}}FLOP/s and of the bytes it must move at {{BYTES}}B/s a rank, both measured with all ranks at work. Traffic that stays in a cache can be faster.</p>
<div class="scroll"><table><tr><th>operation</th><th class="n">calls</th><th class="n">time</th><th class="n">of the step</th><th class="phases"></th><th class="n">FLOP/s</th><th class="n">B/s</th><th class="n">of its limit</th><th class="n">left</th></tr>{{#ROW}}
<tr><td>{{NAME}}</td><td class="n">{{CALLS}}</td><td class="n">{{TIME}}</td><td class="n">{{PART}}</td><td class="phases"><div style="width:{{TIME_WIDTH}}%" class="wait"><i class="fwd" style="width:{{LEAST_WIDTH}}%"></i></div></td><td class="n">{{OP_FLOPS}}</td><td class="n">{{OP_BYTES}}</td><td class="n">{{LIMIT}}</td><td class="n"><b>{{LEFT}}</b></td></tr>{{/ROW}}
</table></div>
{{#ROOFLINE}}<div class="scroll wide">{{PICTURE:none}}</div>{{/ROOFLINE}}
</section>{{/OPS}}
{{#PLAN}}<section>
<h2>The plan</h2><p>Who holds which layers. It says nothing about what is learned: any plan trains the same model.</p>
<div class="scroll">{{PICTURE:none}}</div>
{{#PLAN_TEXT}}<details><summary>plan.textproto</summary><pre>{{TEXT}}</pre></details>{{/PLAN_TEXT}}
</section>{{/PLAN}}
{{#DATA}}<section>
<h2>What it was trained on</h2><p>Every source with its licence.</p>
<div class="scroll data"><table><tr><th>source</th><th>language</th><th>licence</th><th>lab</th><th class="n">weight</th><th class="n">tokens</th><th>digest</th></tr>{{#ROW}}
<tr><td>{{NAME}}</td><td>{{LANGUAGE}}</td><td>{{LICENCE}}</td><td>{{LAB}}</td><td class="n">{{WEIGHT}}</td><td class="n">{{TOKENS}}</td><td class="hex">{{DIGEST}}</td></tr>{{/ROW}}
</table></div>
</section>{{/DATA}}
{{#MACHINE}}<section>
<h2>Machine and versions</h2>
<dl>{{#FACT}}<dt>{{NAME}}</dt><dd>{{VALUE}}</dd>{{/FACT}}</dl>
</section>{{/MACHINE}}
{{#RECIPE}}<section>
<h2>Recipe</h2><p>Everything that decides what is learned; run it anywhere and get the same training.</p>
<details><summary>recipe.textproto</summary><pre>{{TEXT}}</pre></details>
</section>{{/RECIPE}}
{{#EVENTS}}<section>
<h2>Events</h2><p>Everything that was not a plain step, in UTC.{{#CUT}} The last {{SHOWN}} of {{ALL}}.{{/CUT}}</p>
<pre>{{#LINE}}{{TEXT}}
{{/LINE}}</pre>
</section>{{/EVENTS}}
<footer>Made by kente from the files in {{DIRECTORY}}. This page loads nothing from anywhere.</footer>
</main>
<div id="tip"></div>
<script>
const tip = document.getElementById("tip");
for (const svg of document.querySelectorAll("svg.chart")) {
  const [low, high, left, right] = svg.dataset.x.split(" ").map(Number);
  const width = svg.viewBox.baseVal.width, cursor = svg.querySelector(".cursor");
  const lines = [...svg.querySelectorAll(".series")].map(g => ({ name: g.dataset.name,
    points: g.dataset.points.trim().split(" ").map(p => p.split(":").map(Number)) }));
  const hide = () => { tip.style.display = "none"; cursor.style.visibility = "hidden"; };
  svg.addEventListener("pointerleave", hide);
  svg.addEventListener("pointermove", event => {
    const box = svg.getBoundingClientRect(), px = (event.clientX - box.left) / box.width * width;
    if (px < left || px > right) return hide();
    const x = low + (px - left) / (right - left) * (high - low);
    const near = lines.map(l => l.points.reduce((a, b) => Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
    tip.textContent = "step " + near[0][0] + "\n" + lines.map((l, i) => l.name + " " + near[i][1]).join("\n");
    const at = left + (near[0][0] - low) / (high - low) * (right - left);
    cursor.setAttribute("x1", at); cursor.setAttribute("x2", at); cursor.style.visibility = "visible";
    tip.style.display = "block";
    tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 6) + "px";
    tip.style.top = event.clientY + 14 + "px";
  });
}
</script>
</body>
</html>
