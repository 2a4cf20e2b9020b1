# hadal_golden(name MORE_SOURCES...): tests/golden/test_<name>.c, run in the root.
add_library(hadal_stepper STATIC golden/stepper.c golden/golden_kit.c)
target_link_libraries(hadal_stepper PUBLIC hadal_models hadal_test)

function(hadal_golden name)
    add_executable(test_${name} golden/test_${name}.c ${ARGN})
    target_link_libraries(test_${name} PRIVATE hadal_stepper)
    add_test(NAME golden.${name} COMMAND test_${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
    set_tests_properties(golden.${name} PROPERTIES LABELS golden TIMEOUT 600 SKIP_RETURN_CODE 77)
endfunction()

hadal_golden(golden_dense)
hadal_golden(golden_sparse)
hadal_golden(router_golden)
hadal_golden(stories unit/write_files.c)
hadal_golden(chat_golden harness/tiny_tokenizer.c)
hadal_golden(tokenizer_golden)
# Feeds texts to a tokenizer for make_tokenizer_golden.py --compare.
add_executable(tokenize_lines tools/tokenize_lines.c)
target_link_libraries(tokenize_lines PRIVATE hadal_models)
