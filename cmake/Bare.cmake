# The bare configuration looks for nothing but what is named here: a machine with GPUs may have a compiler and CMake alone.
set(allowed nlohmann_json Threads GTest Python3)  # the last two for tests
get_property(found GLOBAL PROPERTY PACKAGES_FOUND)
get_property(missed GLOBAL PROPERTY PACKAGES_NOT_FOUND)
foreach(package IN LISTS found missed)
  if(NOT package IN_LIST allowed)
    message(FATAL_ERROR "ORCH_BARE looks for ${package}, which a bare machine does not have; it may look for ${allowed}")
  endif()
endforeach()
