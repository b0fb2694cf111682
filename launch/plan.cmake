# What decides before a run: no torch, no MPI.
add_executable(kente-plan plan_main.cpp plan_pictures.cpp)
target_link_libraries(kente-plan PRIVATE kente_plan kente_report kente_command_line fmt::fmt
                                         nlohmann_json::nlohmann_json)
