#include "train/strict_json.h"

#include <set>
#include <utility>
#include <vector>

#include "base/text.h"

namespace orch::train {
namespace {

using nlohmann::ordered_json;

class Builder final : public nlohmann::json_sax<ordered_json> {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return put(nullptr); }
  bool boolean(bool value) override { return put(value); }
  bool number_integer(number_integer_t value) override { return put(value); }
  bool number_unsigned(number_unsigned_t value) override { return put(value); }
  bool number_float(number_float_t value, const string_t&) override { return put(value); }
  bool string(string_t& value) override { return put(std::move(value)); }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(ordered_json::object()); }
  bool start_array(std::size_t) override { return open(ordered_json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (!open_.back().keys.insert(name).second) {
      fault_.what = "the key " + quote(name) + " stands there twice";
      return false;
    }
    open_.back().key = std::move(name);
    return true;
  }

  bool parse_error(std::size_t at, const std::string&, const nlohmann::detail::exception& exception) override {
    // nlohmann counts from 1, with the byte that it stumbled over.
    fault_.at = at > 0 ? at - 1 : 0;
    const std::string_view said = exception.what();
    fault_.is_cut = said.find("unexpected end of input") != std::string_view::npos;
    const std::size_t name = said.find("] ");  // [json.exception.parse_error.101] parse error at line 1, column 2: …
    std::string_view why = name == std::string_view::npos ? said : said.substr(name + 2);
    if (const std::size_t place = why.find(": "); why.starts_with("parse error at") && place != std::string_view::npos)
      why.remove_prefix(place + 2);
    fault_.what = why;
    return false;
  }

  ordered_json& root() { return root_; }
  JsonFault& fault() { return fault_; }

 private:
  struct Open {
    ordered_json* value;
    std::string key;             ///< of the value that comes next
    std::set<std::string> keys;  ///< of an object, so far
  };

  /// Where the value comes to stand. What lies above stays where it is until its last child is closed.
  ordered_json* place(ordered_json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (auto* list = open_.back().value->get_ptr<ordered_json::array_t*>())
      return &list->emplace_back(std::move(value));
    append(*open_.back().value, std::move(open_.back().key), std::move(value));
    return &open_.back().value->get_ref<ordered_json::object_t&>().back().second;
  }
  bool count() {
    if (values_++ < limits_.values) return true;
    fault_.what = "more than " + std::to_string(limits_.values) + " values";
    return false;
  }
  bool put(ordered_json value) {
    if (!count()) return false;
    place(std::move(value));
    return true;
  }
  bool open(ordered_json value) {
    if (open_.size() == limits_.depth) {
      fault_.what = "nested more than " + std::to_string(limits_.depth) + " deep";
      return false;
    }
    if (!count()) return false;
    ordered_json* at = place(std::move(value));
    open_.push_back({at, {}, {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  JsonLimits limits_;
  std::size_t values_ = 0;
  ordered_json root_;
  std::vector<Open> open_;
  JsonFault fault_;
};

}  // namespace

void append(ordered_json& object, std::string key, ordered_json value) {
  using Entry = ordered_json::object_t::value_type;
  std::vector<Entry>& entries = object.get_ref<ordered_json::object_t&>();  // which its map is made of
  entries.emplace_back(std::move(key), std::move(value));
}

Result<ordered_json, JsonFault> parse_strict(std::string_view text, const JsonLimits& limits) {
  Builder builder(limits);
  if (ordered_json::sax_parse(text.begin(), text.end(), &builder)) return std::move(builder.root());
  return std::move(builder.fault());
}

}  // namespace orch::train
