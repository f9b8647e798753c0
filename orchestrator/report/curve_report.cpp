#include "report/curve_report.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <limits>
#include <ostream>
#include <set>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "report/csv.h"
#include "report/json_values.h"
#include "report/plot.h"
#include "report/results_report.h"

namespace orch::report {
namespace {

constexpr std::size_t kKeyShown = 12;
constexpr std::size_t kMostDrawn = 40;  // curves of one drawing: with more nobody finds theirs
constexpr double kDecades = 100;        // highest over lowest, from which gradients' norms are drawn by their logarithm

constexpr double kLongest = 3e9;  // seconds: nobody waits for what is said to take a century

std::string plain(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

/// Of a point; of held-out data where `held_out`.
const Json& figure(const Json& point, const char* name, bool held_out) {
  return member(held_out ? member(point, "held_out") : point, name);
}

std::string step_text(const Json& point) {
  const long long steps = count_in(point, "steps");
  return grouped(count_in(point, "step")) + (steps > 0 ? " of " + grouped(steps) : "");
}

std::string text_of(const Json& value, std::string (*write)(double)) {
  return value.is_number() ? write(value.get<double>()) : "";
}

std::string whole(double value) { return grouped(std::llround(std::clamp(value, -1e15, 1e15))); }

/// What the steps so far took, for those that are left; empty where it cannot be told.
std::string left_text(const Json& point) {
  const double step = number_in(point, "step"), steps = number_in(point, "steps"),
               seconds = number_in(point, "seconds");
  if (!(step >= 1 && steps >= step && seconds > 0)) return "";
  const double left = seconds / step * (steps - step);
  return left < kLongest ? format_duration(left) : "";
}

/// A figure as a column, or in a sentence.
struct Shown {
  const char* title;
  const char* name;
  bool held_out;
  bool always;  ///< a column even where nobody has it
  std::string (*write)(double);
};
constexpr std::array kShown = {
    Shown{"loss", "loss", false, true, plain},
    Shown{"held-out loss", "loss", true, false, plain},
    Shown{"reward", "reward", false, false, plain},
    Shown{"held-out reward", "reward", true, false, plain},
    Shown{"margin", "margin", false, false, plain},
    Shown{"held-out margin", "margin", true, false, plain},
    Shown{"accuracy", "accuracy", false, false, plain},
    Shown{"held-out accuracy", "accuracy", true, false, plain},
    Shown{"divergence", "divergence", false, false, plain},
    Shown{"rate", "rate", false, true, plain},
    Shown{"norm", "norm", false, true, plain},
    Shown{"tokens/s", "tokens_per_second", false, true, whole},
    Shown{"memory", "memory", false, true, format_bytes},
};

/// Those that are always shown, and those that one of the points has.
std::vector<const Shown*> shown_of(const std::vector<Json>& points) {
  std::vector<const Shown*> found;
  for (const Shown& each : kShown) {
    const auto has = [&](const Json& point) { return figure(point, each.name, each.held_out).is_number(); };
    if (each.always || std::ranges::any_of(points, has)) found.push_back(&each);
  }
  return found;
}

/// The last figure of each name, in one point: the last step need not have all of them.
Json last_of(const Json& points) {
  Json last;
  if (!points.is_array()) return last;
  for (const Json& point : points) {
    if (!point.is_object()) continue;
    for (const auto& [name, value] : point.items()) {
      if (name == "held_out" && value.is_object())
        for (const auto& [inner, number] : value.items()) {
          if (number.is_number()) last["held_out"][inner] = number;
        }
      else if (value.is_number())
        last[name] = value;
    }
  }
  return last;
}

struct Titled {
  std::vector<Table::Column> titles;
  std::vector<std::vector<std::string>> rows;
};

void add_figures(Titled& sheet, const std::vector<Json>& points) {
  const std::vector<const Shown*> columns = shown_of(points);
  for (const Shown* column : columns) sheet.titles.push_back({column->title, Align::kRight});
  for (std::size_t i = 0; i < points.size(); ++i)
    for (const Shown* column : columns)
      sheet.rows[i].push_back(text_of(figure(points[i], column->name, column->held_out), column->write));
}

std::string scalar_text(const Json& value) {
  return value.is_null() ? "" : value.is_string() ? value.get<std::string>() : value.dump();
}

Titled curves_sheet(const Json& curves) {
  Titled sheet;
  const std::set<std::string> differ = settings_that_differ(curves);
  sheet.titles = {{"cell"}, {"model"}, {"task"}};
  for (const std::string& name : differ) sheet.titles.push_back({name});
  sheet.titles.insert(sheet.titles.end(), {{"state"}, {"step", Align::kRight}});
  std::vector<Json> points;
  for (const Json& curve : curves) {
    points.push_back(last_of(member(curve, "points")));
    std::vector<std::string> row{text_in(curve, "key").substr(0, kKeyShown), text_in(curve, "model"),
                                 text_in(curve, "task")};
    for (const std::string& name : differ) row.push_back(scalar_text(member(member(curve, "settings"), name.c_str())));
    row.push_back(text_in(curve, "state"));
    row.push_back(points.back().is_null() ? "" : step_text(points.back()));
    sheet.rows.push_back(std::move(row));
  }
  add_figures(sheet, points);
  return sheet;
}

void print_sheet(std::ostream& out, const Style& style, const Titled& sheet) {
  Table table(sheet.titles);
  for (const auto& row : sheet.rows) table.add(row);
  table.print(out, style);
}

// Drawings.

struct Drawn {
  const char* title;
  const char* name;
  bool may_be_log;
};
constexpr std::array kDrawn = {Drawn{"loss", "loss", false},
                               Drawn{"learning rate", "rate", false},
                               Drawn{"norm of gradients", "norm", true},
                               Drawn{"reward", "reward", false},
                               Drawn{"margin", "margin", false},
                               Drawn{"accuracy", "accuracy", false},
                               Drawn{"divergence", "divergence", false}};

/// Of held-out data only the steps that have it; else a step without a number is a gap.
PlotLine line_of(const Json& points, std::size_t curve, const char* name, bool held_out) {
  PlotLine line{curve, held_out, {}};
  if (!points.is_array()) return line;
  bool any = false;
  for (const Json& point : points) {
    const Json& value = figure(point, name, held_out);
    any = any || value.is_number();
    if (held_out && !value.is_number()) continue;
    line.points.emplace_back(number_in(point, "step"),
                             value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN());
  }
  if (!any) line.points.clear();
  return line;
}

bool spans_decades(const PlotPanel& panel) {
  double least = std::numeric_limits<double>::infinity(), most = 0;
  for (const PlotLine& line : panel.lines)
    for (const auto& [step, value] : line.points)
      if (value > 0) {
        least = std::min(least, value);
        most = std::max(most, value);
      }
  return most > kDecades * least;
}

std::string label_of(const Json& curve, const std::set<std::string>& differ) {
  const std::string settings = settings_text(member(curve, "settings"), differ);
  return text_in(curve, "key").substr(0, kKeyShown) + "  " + text_in(curve, "model") + "/" + text_in(curve, "task") +
         (settings.empty() ? "" : "  " + settings);
}

Plot plot_of(const std::string& title, const Json& curves) {
  Plot plot;
  plot.title = title;
  const std::set<std::string> differ = settings_that_differ(curves);
  std::vector<const Json*> chosen;
  std::size_t left_out = 0;
  for (const Json& curve : curves) {
    if (const Json& points = member(curve, "points"); !points.is_array() || points.empty()) continue;
    if (chosen.size() < kMostDrawn)
      chosen.push_back(&curve);
    else
      ++left_out;
  }
  for (const Json* curve : chosen) plot.curves.push_back(label_of(*curve, differ));
  bool held_out = false;
  for (const Drawn& drawn : kDrawn) {
    PlotPanel panel{drawn.title, false, {}};
    for (std::size_t i = 0; i < chosen.size(); ++i)
      for (const bool apart : {false, true}) {
        PlotLine line = line_of(member(*chosen[i], "points"), i, drawn.name, apart);
        if (line.points.empty()) continue;
        held_out = held_out || apart;
        panel.lines.push_back(std::move(line));
      }
    if (panel.lines.empty()) continue;
    panel.log = drawn.may_be_log && spans_decades(panel);
    if (panel.log) panel.title += " (logarithmic)";
    plot.panels.push_back(std::move(panel));
  }
  if (held_out) plot.notes.push_back("lines with dots: data that was held out");
  if (left_out > 0)
    plot.notes.push_back("… and " + counted(static_cast<long long>(left_out), "more curve") + ", not drawn");
  if (plot.panels.empty()) plot.notes.push_back("no training has written a step yet");
  return plot;
}

}  // namespace

std::string training_text(const Json& point) {
  if (!point.is_object()) return "";
  std::vector<std::string> parts{"step " + step_text(point)};
  for (const Shown& each : kShown) {
    const std::string text = text_of(figure(point, each.name, each.held_out), each.write);
    if (!text.empty()) parts.push_back(std::string(each.title) + " " + text);
  }
  if (const std::string left = left_text(point); !left.empty()) parts.push_back("about " + left + " left");
  if (const std::string note = text_in(point, "note"); !note.empty()) parts.push_back(note);
  return join(parts, ", ");
}

void print_trainings(std::ostream& out, const Style& style, const Json& trainings) {
  Titled sheet;
  sheet.titles = {
      {"training"}, {"model", Align::kLeft, 30}, {"task", Align::kLeft, 30}, {"job"}, {"step", Align::kRight}};
  std::vector<Json> points;
  for (const Json& training : trainings) {
    points.push_back(member(training, "live"));
    sheet.rows.push_back({text_in(training, "key").substr(0, kKeyShown), text_in(training, "model"),
                          text_in(training, "task"), text_in(training, "job"), step_text(points.back())});
  }
  add_figures(sheet, points);
  sheet.titles.push_back({"left", Align::kRight});
  for (std::size_t i = 0; i < points.size(); ++i) sheet.rows[i].push_back(left_text(points[i]));
  print_sheet(out, style, sheet);
}

void print_curves(std::ostream& out, const Style& style, const Json& curves) {
  if (curves.is_array() && !curves.empty()) print_sheet(out, style, curves_sheet(curves));
}

void write_curves_csv(std::ostream& out, const Json& curves) {
  write_csv_line(out, {"key", "model", "task", "settings", "step", "figure", "value"});
  for (const Json& curve : curves) {
    const Json& settings = member(curve, "settings");
    const std::string of = settings.is_object() ? settings.dump() : "{}";
    const auto write = [&](const Json& point, const std::string& name, const Json& value) {
      if (value.is_number())
        write_csv_line(out, {text_in(curve, "key"), text_in(curve, "model"), text_in(curve, "task"), of,
                             std::to_string(count_in(point, "step")), name, value.dump()});
    };
    for (const Json& point : member(curve, "points")) {
      if (!point.is_object()) continue;
      for (const auto& [name, value] : point.items())
        if (name != "step" && name != "steps") write(point, name, value);
      if (const Json& held_out = member(point, "held_out"); held_out.is_object())
        for (const auto& [name, value] : held_out.items()) write(point, "held_out_" + name, value);
    }
  }
}

std::string curves_svg(const std::string& title, const Json& curves) { return svg_of(plot_of(title, curves)); }

std::string curves_html(const std::string& title, const Json& curves) {
  std::string page =
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>" + xml_escaped(title) +
      "</title>\n<style>\n"
      "body { font: 14px sans-serif; margin: 2em; color: #222; background: #fff; }\n"
      "svg { max-width: 100%; height: auto; }\n"
      "table { border-collapse: collapse; margin-top: 2em; }\n"
      "th, td { padding: 0.25em 0.9em; text-align: left; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }\n"
      ".number { text-align: right; font-variant-numeric: tabular-nums; }\n"
      "</style>\n</head>\n<body>\n" +
      curves_svg(title, curves);
  const Titled sheet = curves_sheet(curves);
  const auto add_row = [&](const char* tag, const auto& text_at) {
    page += "<tr>";
    for (std::size_t i = 0; i < sheet.titles.size(); ++i)
      page += std::string("<") + tag + (sheet.titles[i].align == Align::kRight ? " class=\"number\">" : ">") +
              xml_escaped(text_at(i)) + "</" + tag + ">";
    page += "</tr>\n";
  };
  page += "<table>\n<thead>\n";
  add_row("th", [&](std::size_t i) { return sheet.titles[i].title; });
  page += "</thead>\n<tbody>\n";
  for (const auto& row : sheet.rows) add_row("td", [&](std::size_t i) { return row[i]; });
  return page + "</tbody>\n</table>\n</body>\n</html>\n";
}

}  // namespace orch::report
