// What both kinds of task files are read with.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/fields.h"
#include "eval/task.h"

namespace orch::eval {

/// A text or a list of texts or numbers, as a number where it is one without quotes.
std::optional<Json> read_constant(const Yaml& node, int depth = 0);

/// A template, a field's name, or a number. Reports what is none of these.
std::optional<DocText> read_doc_text(Fields& fields, std::string_view key, const std::string& file,
                                     Diagnostics& diagnostics);
/// As read_doc_text(), or a list of texts that is the same for all documents.
std::optional<DocText> read_choices(Fields& fields, std::string_view key, const std::string& file,
                                    Diagnostics& diagnostics);

std::optional<Pattern> read_pattern(Fields& fields, std::string_view key, Diagnostics& diagnostics);
std::vector<Pattern> read_patterns(Fields& fields, std::string_view key, Diagnostics& diagnostics);

/// A list of objects.
std::vector<Document> read_examples(const Yaml& list, const std::string& file, Diagnostics& diagnostics);

}  // namespace orch::eval
