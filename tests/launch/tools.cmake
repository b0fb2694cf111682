# The Python tools' tests: each file a test of its own, run by the private environment's Python.

function(kente_tool_test name label)
  add_test(NAME tools.${name}
           COMMAND ${PROJECT_SOURCE_DIR}/.venv/bin/python -B ${CMAKE_CURRENT_LIST_DIR}/${name}.py)
  set_tests_properties(tools.${name} PROPERTIES LABELS ${label} TIMEOUT 300
                       ENVIRONMENT PYTHONPATH=${PROJECT_SOURCE_DIR}/launch)
endfunction()

foreach(name benchmark_run_test byte_trigram_test corpus_test data_prepare_test delay_proxy_test export_test
             fetch_handbook_test metrics_test recipe_data_test reference_forward_test sample_test text_extract_test
             token_files_test tokenizer_files_test)
  kente_tool_test(${name} unit)
endforeach()

if(KENTE_PEERS)
  kente_tool_test(export_peer_test peers)
  kente_tool_test(megatron_peer_test peers)
  kente_tool_test(metrics_peer_test peers)
else()
  message(STATUS "Tests against Megatron and transformers are left out: they need launch/setup --peers "
                 "and -DKENTE_PEERS=ON")
endif()
