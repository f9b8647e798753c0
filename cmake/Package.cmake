# What is installed, and the tarball that `cpack` makes of it: it runs from any folder, needs no root, and takes nothing
# from the machine but its C library (orch-worker: and its MPI). The programs find their data beside themselves, in ../share/orch.
include(GNUInstallDirs)

# Libraries that are there as archives are linked in. What is left is copied to lib/orch when it is installed.
option(ORCH_PORTABLE "link libraries into orchctl where that is possible" ON)

# Archive beside a library, for an imported target whose location is a shared object.
function(orch_prefer_archive target)
  if(NOT TARGET ${target})
    return()
  endif()
  get_target_property(aliased ${target} ALIASED_TARGET)
  if(aliased)
    set(target ${aliased})
  endif()
  get_target_property(imported ${target} IMPORTED)
  get_target_property(type ${target} TYPE)
  if(NOT imported OR type STREQUAL "INTERFACE_LIBRARY")
    return()
  endif()
  get_target_property(configs ${target} IMPORTED_CONFIGURATIONS)
  set(properties IMPORTED_LOCATION)
  foreach(config IN LISTS configs)
    list(APPEND properties IMPORTED_LOCATION_${config})
  endforeach()
  foreach(property IN LISTS properties)
    get_target_property(location ${target} ${property})
    string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive "${location}")
    if(EXISTS "${archive}")
      set_target_properties(${target} PROPERTIES ${property} "${archive}")
    endif()
  endforeach()
endfunction()

# Whether every location of an imported target is an archive.
function(orch_is_archive target result)
  set(${result} FALSE PARENT_SCOPE)
  get_target_property(type ${target} TYPE)
  if(type STREQUAL "INTERFACE_LIBRARY")
    return()
  endif()
  get_target_property(location ${target} LOCATION)
  if(location MATCHES "\\.a$")
    set(${result} TRUE PARENT_SCOPE)
  endif()
endfunction()

if(ORCH_PORTABLE AND NOT ORCH_SANITIZE)
  orch_prefer_archive(yaml-cpp)
  orch_prefer_archive(OpenSSL::Crypto)
  # Only with yaml-cpp linked in: two C++ runtimes in one process, one of them yaml-cpp's, would not do.
  orch_is_archive(yaml-cpp yaml_is_archive)
  if(yaml_is_archive AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # What nobody calls is left out: less to carry, and fewer symbols that only a newer C library has.
    foreach(program orchctl orchd orch-worker orch-sandbox)
      target_link_options(${program} PRIVATE -static-libstdc++ -static-libgcc -Wl,--gc-sections)
    endforeach()
  endif()
endif()
# The old tag is inherited by the copied libraries and is not overridden by a site's LD_LIBRARY_PATH.
foreach(program orchctl orchd orch-worker orch-sandbox)
  target_link_options(${program} PRIVATE -Wl,--disable-new-dtags)
  set_target_properties(${program} PROPERTIES INSTALL_RPATH "\$ORIGIN/../lib/orch" BUILD_RPATH "\$ORIGIN/../lib/orch")
endforeach()

install(TARGETS orchctl orchd orch-worker orch-sandbox RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY db/catalog db/tasks policies templates examples DESTINATION share/orch)
install(DIRECTORY docs/schemas/ DESTINATION share/orch/schemas OPTIONAL)
install(FILES LICENSE DESTINATION share/doc/orch)
install(FILES README.md DESTINATION share/doc/orch OPTIONAL)
install(DIRECTORY docs/ DESTINATION share/doc/orch FILES_MATCHING PATTERN "*.md" PATTERN "openapi.yaml"
        PATTERN "results" EXCLUDE PATTERN "schemas" EXCLUDE)

# Every library that orchctl and orchd ask for and that is not part of the C library, with the links that lead to it.
# orch-worker asks for the same ones, and where it is built with MPI for the site's MPI, which is never copied: it has to
# be the one that srun speaks with. What an earlier installation left there would be found before the machine's own.
install(CODE [[
  file(REMOVE_RECURSE "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/lib/orch")
  file(GET_RUNTIME_DEPENDENCIES
    EXECUTABLES "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/bin/orchctl" "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/bin/orchd"
    RESOLVED_DEPENDENCIES_VAR found
    UNRESOLVED_DEPENDENCIES_VAR lost
    PRE_EXCLUDE_REGEXES "^ld-linux" "^linux-vdso" "^lib(c|m|dl|rt|pthread|resolv|util)\\.so")
  if(lost)
    message(FATAL_ERROR "orchctl or orchd needs libraries that are not to be found here: ${lost}")
  endif()
  foreach(library IN LISTS found)
    file(INSTALL DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/orch" TYPE SHARED_LIBRARY FOLLOW_SYMLINK_CHAIN FILES "${library}")
  endforeach()
]])

# Shell completion, written by the program that was just installed.
install(CODE [[
  set(orchctl "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/bin/orchctl")
  foreach(shell bash zsh)
    execute_process(COMMAND "${orchctl}" completion ${shell} RESULT_VARIABLE left OUTPUT_VARIABLE script ERROR_QUIET)
    if(left EQUAL 0 AND script)
      if(shell STREQUAL "bash")
        set(file "share/bash-completion/completions/orchctl")
      else()
        set(file "share/zsh/site-functions/_orchctl")
      endif()
      file(WRITE "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/${file}" "${script}")
      message(STATUS "Installing: $ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/${file}")
    endif()
  endforeach()
]])

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_NAME orch)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_FILE_NAME orch-${PROJECT_VERSION}-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_INCLUDE_TOPLEVEL_DIRECTORY ON)
set(CPACK_STRIP_FILES ON)
set(CPACK_RESOURCE_FILE_LICENSE ${PROJECT_SOURCE_DIR}/LICENSE)
include(CPack)
