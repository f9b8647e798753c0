#include "orchd/settings.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "base/text.h"
#include "base/whole_file.h"
#include "link/directory.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;
using nlohmann::ordered_json;

struct Known {
  std::string_view name;
  bool many = false, path = false;
  int most_seconds = 0;  ///< of a number of seconds; 0: it is none
};
constexpr std::array kKnown = {Known{"database", false, true},
                               Known{"data", false, true},
                               Known{"jobs", false, true},
                               Known{"templates", false, true},
                               Known{"catalog", true, true},
                               Known{"worker", false, true},
                               Known{"listen"},
                               Known{"address", true},
                               Known{"link"},
                               Known{"look-every", false, false, 3600},
                               Known{"tidy-every", false, false, 86400},
                               Known{"socket-mode"},
                               Known{"read-group"},
                               Known{"submit-group"},
                               Known{"admin-group"}};

bool is_reset(std::string_view option, const std::vector<std::string>& values) {
  if (values.size() != 1) return values.empty();
  // `--listen none` means that there is no port.
  return values[0].empty() || values[0] == "default" || (values[0] == "none" && option != "listen");
}

/// What is wrong with a value that was kept; typed ones are checked as they are typed.
std::string problem_of(const Known& option, const std::string& value) {
  if (value.empty()) return "is empty";
  if (!is_utf8(value)) return "is " + quote(value) + ", which is not UTF-8 and could not be kept";
  if (option.path && !fs::path(value).is_absolute()) return "is " + quote(value) + ", expected an absolute path";
  if (option.name == "link" && value != "http" && value != "files")
    return "is " + quote(value) + ", expected http or files";
  if (option.name == "socket-mode" && !read_mode(value)) return "is " + quote(value) + ", expected a mode such as 0660";
  if (option.most_seconds == 0) return "";
  double number = 0;
  const char* const end = value.data() + value.size();
  if (std::from_chars(value.data(), end, number).ptr != end || !(number >= 1 && number <= option.most_seconds))
    return "is " + quote(value) + ", expected seconds from 1 to " + std::to_string(option.most_seconds);
  return "";
}

/// The values of an option as they stand in the file; an error: a sentence without its subject.
Result<std::vector<std::string>> read_values(const Known& option, const ordered_json& json) {
  std::vector<std::string> values;
  if (option.many != json.is_array()) return Error{option.many ? "is no list" : "is no text"};
  const ordered_json list = option.many ? json : ordered_json::array({json});
  for (const ordered_json& each : list) {
    if (!each.is_string()) return Error{option.many ? "is no list of texts" : "is no text"};
    values.push_back(each.get<std::string>());
    if (const std::string problem = problem_of(option, values.back()); !problem.empty()) return Error{problem};
  }
  return values;
}

}  // namespace

std::string Settings::text(std::string_view option, std::string_view otherwise) const {
  const auto at = options.find(option);
  return std::string(at == options.end() || at->second.empty() ? otherwise : at->second.back());
}

std::vector<std::string> Settings::list(std::string_view option) const {
  const auto at = options.find(option);
  return at == options.end() ? std::vector<std::string>() : at->second;
}

Result<std::monostate> Settings::replace(const OptionsGiven& typed) {
  for (const Known& option : kKnown) {
    const auto at = typed.find(option.name);
    if (at == typed.end()) continue;
    options.erase(std::string(option.name));
    if (is_reset(option.name, at->second)) continue;
    std::vector<std::string> values = at->second;
    if (option.path)
      for (std::string& value : values)
        if (!value.empty()) value = fs::absolute(value).lexically_normal().string();
    for (const std::string& value : values)
      if (const std::string problem = problem_of(option, value); !problem.empty())
        return Error{"--" + std::string(option.name) + " " + problem};
    options.emplace(option.name, std::move(values));
  }
  return std::monostate{};
}

Result<Settings> read_settings(const fs::path& state) {
  const fs::path file = state / "orchd.json";
  Settings settings;
  std::error_code error;
  if (!fs::exists(file, error)) {
    if (error) return Error{file.string() + " cannot be looked at: " + error.message()};
    return settings;
  }
  std::ifstream in(file, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  const auto damaged = [&](const std::string& what) {
    return Error{file.string() + " is damaged: " + what +
                 ". It holds the options of the last start; correct it, or remove it and give them again (above all "
                 "--database, if the database lies elsewhere)"};
  };
  if (!in) return Error{file.string() + " cannot be read"};
  const auto json = ordered_json::parse(text.str(), nullptr, false);
  if (!json.is_object()) return damaged("it is no JSON object");
  const auto cluster = json.find("cluster"), on = json.find("on"), gpus = json.find("gpus");
  if (cluster == json.end() || (*cluster != "slurm" && *cluster != "local"))
    return damaged("\"cluster\" should be \"slurm\" or \"local\"");
  settings.cluster = cluster->get<std::string>();
  if (on != json.end() && !on->is_string()) return damaged("\"on\" should be a text");
  if (on != json.end()) settings.on = on->get<std::string>();
  if (gpus != json.end() && (!gpus->is_number_integer() || *gpus < 0 || *gpus > 64))
    return damaged("\"gpus\" should be a number from 0 to 64");
  if (gpus != json.end()) settings.gpus = gpus->get<int>();
  for (const Known& option : kKnown) {
    const auto at = json.find(option.name);
    if (at == json.end()) continue;
    auto values = read_values(option, *at);
    if (!values) return damaged("\"" + std::string(option.name) + "\" " + values.error().what);
    settings.options.emplace(option.name, *std::move(values));
  }
  return settings;
}

Result<std::monostate> write_settings(const fs::path& state, const Settings& settings) {
  ordered_json json = {{"cluster", settings.cluster}, {"on", settings.on}, {"gpus", settings.gpus}};
  for (const Known& option : kKnown) {
    const auto at = settings.options.find(option.name);
    if (at == settings.options.end()) continue;
    json[std::string(option.name)] = option.many ? ordered_json(at->second) : ordered_json(at->second.back());
  }
  return write_whole(state / "orchd.json", json.dump(2, ' ', false, ordered_json::error_handler_t::replace) + "\n");
}

Result<unsigned> read_mode(const std::string& text) {
  unsigned mode = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, mode, 8);
  if (error != std::errc() || stopped != end || mode > 0777 || (mode & 0600) != 0600)
    return Error{quote(text) + " is no mode of a socket, such as 0600 or 0660"};
  return mode;
}

}  // namespace orch::orchd
