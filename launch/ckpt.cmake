# What looks at runs after the fact: no torch, no MPI.
add_executable(kente-ckpt ckpt_main.cpp ckpt_tools.cpp)
target_link_libraries(kente-ckpt PRIVATE kente_ckpt kente_command_line nlohmann_json::nlohmann_json)

add_executable(kente-report report_main.cpp)
target_link_libraries(kente-report PRIVATE kente_report kente_command_line)

add_executable(kente-ledger ledger_main.cpp)
target_link_libraries(kente-ledger PRIVATE kente_data kente_report kente_command_line fmt::fmt
                                           nlohmann_json::nlohmann_json)
