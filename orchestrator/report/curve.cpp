#include "report/curve.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"

namespace orch::report {
namespace {

constexpr std::size_t kMostNames = 64;  // of a line's figures
constexpr std::size_t kMostName = 40;   // bytes
constexpr std::size_t kMostNote = 300;  // bytes
constexpr double kMostStep = 9e15;      // a double still knows it from its neighbours

bool is_name(const std::string& text) {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyz0123456789_";
  return !text.empty() && text.size() <= kMostName && text.find_first_not_of(kLetters) == std::string::npos;
}

bool is_told_apart(const std::string& name) {
  return name == "step" || name == "steps" || name == "held_out" || name == "note";
}

bool is_figure(const Json& value) {
  return value.is_null() || (value.is_number() && std::isfinite(value.get<double>()));
}

/// A whole number from `least` on; nothing: it is none.
std::optional<std::int64_t> count(const Json& object, const char* name, std::int64_t least) {
  const Json& value = member(object, name);
  if (!value.is_number()) return std::nullopt;
  const double number = value.get<double>();
  if (!(number >= static_cast<double>(least) && number <= kMostStep) || number != std::floor(number))
    return std::nullopt;
  return static_cast<std::int64_t>(number);
}

void take_figures(const Json& from, Json& into) {
  for (const auto& [name, value] : from.items())
    if (is_name(name) && !is_told_apart(name) && is_figure(value) && into.size() < kMostNames) into[name] = value;
}

/// Where a step's line is.
struct Place {
  std::int64_t step = 0;
  std::uint32_t at = 0;
  std::uint16_t length = 0;
  bool held_out = false;
};

/// `most` of the numbers from 0 to `count` - 1, the first and the last among them.
std::vector<std::size_t> spread(std::size_t count, std::size_t most) {
  std::vector<std::size_t> chosen;
  if (count <= most) {
    for (std::size_t i = 0; i < count; ++i) chosen.push_back(i);
    return chosen;
  }
  for (std::size_t i = 0; i < most; ++i) chosen.push_back(i * (count - 1) / (most - 1));
  return chosen;
}

}  // namespace

std::optional<Json> read_point(std::string_view line) {
  if (line.size() > kMostLine) return std::nullopt;
  const Json said = Json::parse(line, nullptr, false);
  if (!said.is_object()) return std::nullopt;
  const auto step = count(said, "step", 0);
  if (!step) return std::nullopt;
  Json point;
  point["step"] = *step;
  if (const auto steps = count(said, "steps", 1)) point["steps"] = *steps;
  take_figures(said, point);
  if (const Json& held_out = member(said, "held_out"); held_out.is_object()) {
    Json figures = Json::object();
    take_figures(held_out, figures);
    if (!figures.empty()) point["held_out"] = std::move(figures);
  }
  if (const std::string note = text_in(said, "note"); !note.empty())
    point["note"] = note.substr(0, utf8_prefix(std::string_view(note).substr(0, kMostNote)));
  return point;
}

std::string live_line(std::string_view line) {
  const auto point = read_point(line);
  return point ? point->dump(-1, ' ', false, Json::error_handler_t::replace) : "";
}

Curve read_curve(std::string_view text, std::size_t most) {
  text = text.substr(0, kMostCurve);
  most = std::max<std::size_t>(most, 2);
  // Where each step is first, so that numbers are held of those alone that are shown.
  std::vector<Place> places;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    // A line that a crash or the writer's next byte has torn is no JSON: no beginning of an object is one.
    if (const auto point = read_point(text.substr(at, end - at))) {
      const std::int64_t step = (*point)["step"];
      while (!places.empty() && places.back().step >= step) places.pop_back();
      if (places.size() < kMostCurveSteps)
        places.push_back(
            {step, static_cast<std::uint32_t>(at), static_cast<std::uint16_t>(end - at), point->contains("held_out")});
    }
    at = end + 1;
  }
  std::vector<std::size_t> held_out;
  for (std::size_t i = 0; i < places.size(); ++i)
    if (places[i].held_out) held_out.push_back(i);
  std::vector<std::size_t> chosen = spread(places.size(), most);
  for (const std::size_t i : spread(held_out.size(), most)) chosen.push_back(held_out[i]);
  std::ranges::sort(chosen);
  chosen.erase(std::ranges::unique(chosen).begin(), chosen.end());

  Curve curve;
  curve.read = static_cast<std::int64_t>(places.size());
  curve.thinned = chosen.size() < places.size();
  for (const std::size_t i : chosen) curve.points.push_back(*read_point(text.substr(places[i].at, places[i].length)));
  return curve;
}

}  // namespace orch::report
