# Contract tests: the real binary, over sockets with a real small model, and on the command line.
find_program(HADAL_PYTHON python3)
if(HADAL_PYTHON)
    add_test(NAME contract COMMAND ${HADAL_PYTHON} ${CMAKE_SOURCE_DIR}/tests/contract/run.py $<TARGET_FILE:hadal>)
    set_tests_properties(contract PROPERTIES LABELS contract TIMEOUT 1200 SKIP_RETURN_CODE 77)
    add_test(NAME cli COMMAND ${HADAL_PYTHON} ${CMAKE_SOURCE_DIR}/tests/contract/test_cli.py $<TARGET_FILE:hadal>)
    set_tests_properties(cli PROPERTIES LABELS cli TIMEOUT 600)
    # The interpreter with the SDKs when tests/run.sh made one.
    add_test(NAME docker.aws_calls COMMAND sh -c
             "exec \"\${HD_TEST_PYTHON:-${HADAL_PYTHON}}\" ${CMAKE_SOURCE_DIR}/tests/contract/test_aws_calls.py")
    set_tests_properties(docker.aws_calls PROPERTIES LABELS contract TIMEOUT 120 SKIP_RETURN_CODE 77)
    add_test(NAME docker.front_door COMMAND ${CMAKE_SOURCE_DIR}/docker/lambda/test.sh $<TARGET_FILE:hadal>)
    set_tests_properties(docker.front_door PROPERTIES LABELS contract TIMEOUT 300 SKIP_RETURN_CODE 77)
endif()

# A device that can be broken, for t_fault.py.
add_library(plugin_faulty MODULE ${CMAKE_SOURCE_DIR}/tests/contract/plugin_faulty.c)
target_link_libraries(plugin_faulty PRIVATE hadal_kernels)
set_target_properties(plugin_faulty PROPERTIES OUTPUT_NAME hadal_cuda
    LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/faulty)
