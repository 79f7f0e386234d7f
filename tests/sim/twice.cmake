# The same seeds twice: every line, hashes included, must be the same.
foreach(run first second)
    execute_process(COMMAND ${SIM} --seed 1001 --seeds 5 --steps 4000
        OUTPUT_VARIABLE ${run} RESULT_VARIABLE rc)
    if(NOT rc EQUAL 0)
        message(FATAL_ERROR "${SIM} failed")
    endif()
endforeach()
if(NOT first STREQUAL second)
    message(FATAL_ERROR "one seed, two runs:\n${first}\n${second}")
endif()
