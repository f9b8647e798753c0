# cmake -DFOLDER=db/migrations -DOUTPUT=embedded.cpp -P embed.cmake
#
# The SQL of every migration becomes a text in a source file, so that the program needs no file beside it. Nothing but
# the files' names and texts goes into it.
file(GLOB files LIST_DIRECTORIES false "${FOLDER}/*.sql")
list(SORT files)
set(rows "")
set(expected 0)
foreach(file IN LISTS files)
  get_filename_component(name "${file}" NAME)
  math(EXPR expected "${expected} + 1")
  if(NOT name MATCHES "^0*([1-9][0-9]*)_[a-z0-9_]+\\.sql$" OR NOT CMAKE_MATCH_1 EQUAL expected)
    message(FATAL_ERROR "${name}: expected a migration with the number ${expected}, as 0001_first.sql")
  endif()
  file(READ "${file}" sql)
  if(sql MATCHES "\\)sql\"")
    message(FATAL_ERROR "${name}: holds the end of a raw string")
  endif()
  string(APPEND rows "    {${expected}, \"${name}\", R\"sql(${sql})sql\"},\n")
endforeach()
file(WRITE "${OUTPUT}.new" "// Made of db/migrations by embed.cmake.
#include \"store/migrations.h\"

namespace orch::store {

std::span<const Migration> migrations() {
  static constexpr Migration kAll[] = {
${rows}  };
  return kAll;
}

}  // namespace orch::store
")
file(RENAME "${OUTPUT}.new" "${OUTPUT}")
