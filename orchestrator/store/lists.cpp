#include "store/lists.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace orch::store {
namespace {

using nlohmann::json;

json read(Statement& row) {
  const std::string list = row.text();
  if (list.empty()) return json::array();
  json value = json::parse(list, nullptr, false);
  if (!value.is_array()) row.refuse("a list that cannot be read");
  return value;
}

}  // namespace

std::string list_of(const std::vector<std::string>& texts) {
  if (texts.empty()) return "";
  return json(texts).dump(-1, ' ', false, json::error_handler_t::replace);
}

std::vector<std::string> texts_of(Statement& row) {
  std::vector<std::string> texts;
  for (const json& text : read(row)) {
    if (!text.is_string()) row.refuse("a list that is not one of texts");
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

std::string list_of(const std::vector<control::Resources>& rooms) {
  if (rooms.empty()) return "";
  json list = json::array();
  for (const control::Resources& room : rooms)
    list.push_back(json::array({room.nodes, room.gpus, room.cpus, room.memory}));
  return list.dump();
}

std::vector<control::Resources> rooms_of(Statement& row) {
  std::vector<control::Resources> rooms;
  for (const json& room : read(row)) {
    const bool well = room.is_array() && room.size() == 4 &&
                      std::all_of(room.begin(), room.end(), [](const json& part) { return part.is_number(); });
    if (!well) row.refuse("a list that is not one of resources");
    rooms.push_back({room[0].get<int>(), room[1].get<double>(), room[2].get<int>(), room[3].get<std::int64_t>()});
  }
  return rooms;
}

}  // namespace orch::store
