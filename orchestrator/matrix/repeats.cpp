#include "matrix/repeats.h"

#include <algorithm>

#include "base/text.h"

namespace orch::matrix {
namespace {

std::string shown_value(const std::string& name, const SettingValue& value) {
  Settings single;
  single.set(name, value);
  return to_string(single);
}

}  // namespace

void Repeats::describe(const std::string& cause, Place place, std::string words) {
  repeats_[cause].place = std::move(place);
  repeats_[cause].words = std::move(words);
}

void Repeats::report(Diagnostics& diagnostics) const {
  for (const auto& [cause, repeat] : repeats_)
    diagnostics.error(repeat.place, "the same cell is asked for twice: " + repeat.words +
                                        (repeat.count > 1 ? " (and " + counted(repeat.count - 1, "more such pair") + ")"
                                                          : std::string()));
}

std::vector<const Axis*> differing_axes(const Block& block, std::size_t one, std::size_t two) {
  std::vector<const Axis*> differ;
  for (const Axis& axis : block.axes)
    if (!axis.follows && axis.index(one) != axis.index(two)) differ.push_back(&axis);
  return differ;
}

std::string why_equal(const std::string& axis, const Completed& one, const Completed& two, const Settings& became) {
  const SettingValue* value = became.find(axis);
  std::string text = shown_value(axis, one.said) + " and " + shown_value(axis, two.said);
  text += value ? " both give " + shown_value(axis, *value) : " give the same, as it is left out";
  std::string plain = axis;
  std::ranges::replace(plain, '_', ' ');
  std::vector<std::string> why;
  for (const Completed* each : {&one, &two})
    for (const std::string& note : each->notes)
      if ((note.starts_with(plain) || note.starts_with(axis)) && std::ranges::find(why, note) == why.end())
        why.push_back(note);
  if (!why.empty()) text += " (" + join(why, "; ") + ")";
  return text + "; give one of them";
}

}  // namespace orch::matrix
