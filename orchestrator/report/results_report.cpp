#include "report/results_report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <ostream>
#include <set>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "report/csv.h"
#include "report/json_values.h"

namespace orch::report {
namespace {

/// A table across has at most so many columns of numbers: more do not fit on a screen.
constexpr std::size_t kMostAcross = 12;

/// So many digits that the standard error has two, and no more than six.
int decimals_for(double error) {
  const int first = static_cast<int>(std::floor(std::log10(error)));
  return std::clamp(1 - first, 0, 6);
}

std::string format_error(double size) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1e", size);
  return text;
}

std::string plain_number(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.5g", value);
  return text;
}

/// As JSON writes it: enough digits to read the same number again.
std::string exact(const Json& value) { return value.is_number() ? value.dump() : ""; }

std::string scalar_text(const Json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); }

const Json& metrics_of(const Json& row) { return member(row, "metrics"); }

bool has_metrics(const Json& row) { return metrics_of(row).is_object() && !metrics_of(row).empty(); }

/// The columns of a table across: a task, or a task's metric where it has several.
struct Across {
  std::vector<std::pair<std::string, std::string>> columns;  ///< task, metric
  std::vector<std::string> models;
  std::set<std::string> with_several;  ///< tasks
};

template <class T>
void add_once(std::vector<T>& list, T value) {
  if (std::find(list.begin(), list.end(), value) == list.end()) list.push_back(std::move(value));
}

/// Nothing where a table across would hide something: several cells for a place, or too many columns.
bool lay_across(const Json& rows, Across& across) {
  std::set<std::pair<std::string, std::string>> places;
  std::map<std::string, std::vector<std::string>> metrics;
  std::vector<std::string> tasks;
  for (const Json& row : rows) {
    if (member(row, "settings") != member(rows[0], "settings")) return false;
    const std::string model = text_in(row, "model"), task = text_in(row, "task");
    if (!places.emplace(model, task).second) return false;
    add_once(across.models, model);
    add_once(tasks, task);
    if (has_metrics(row))
      for (const auto& [name, metric] : metrics_of(row).items()) add_once(metrics[task], name);
  }
  for (const std::string& task : tasks) {
    const std::vector<std::string>& names = metrics[task];
    if (names.size() > 1) across.with_several.insert(task);
    if (names.empty()) across.columns.emplace_back(task, "");
    for (const std::string& name : names) across.columns.emplace_back(task, name);
    if (across.columns.size() > kMostAcross) return false;
  }
  return true;
}

std::string place_text(const Json& row, const std::string& metric) {
  const Json& metrics = metrics_of(row);
  if (metrics.is_object() && metrics.contains(metric)) return metric_text(metrics[metric]);
  const std::string state = text_in(row, "state");
  return state == "done" ? "-" : state;
}

/// Rows of text under titles: what a table and Markdown are both printed from.
struct Sheet {
  std::vector<Table::Column> titles;
  std::vector<std::vector<std::string>> rows;
};

Sheet across_sheet(const Json& rows, const Across& across) {
  std::map<std::pair<std::string, std::string>, const Json*> at;
  for (const Json& row : rows) at[{text_in(row, "model"), text_in(row, "task")}] = &row;
  Sheet sheet;
  sheet.titles.push_back({"model"});
  for (const auto& [task, metric] : across.columns)
    sheet.titles.push_back({across.with_several.contains(task) ? task + " " + metric : task, Align::kRight});
  for (const std::string& model : across.models) {
    std::vector<std::string> row{model};
    for (const auto& [task, metric] : across.columns) {
      const auto found = at.find({model, task});
      row.push_back(found == at.end() ? "" : place_text(*found->second, metric));
    }
    sheet.rows.push_back(std::move(row));
  }
  return sheet;
}

Sheet long_sheet(const Json& rows) {
  const std::set<std::string> differ = settings_that_differ(rows);
  const bool adapters =
      std::any_of(rows.begin(), rows.end(), [](const Json& row) { return !text_in(row, "adapter").empty(); });
  Sheet sheet;
  sheet.titles = {{"model"}, {"task"}};
  if (adapters) sheet.titles.push_back({"adapter"});
  for (const std::string& name : differ) sheet.titles.push_back({name});
  sheet.titles.insert(sheet.titles.end(), {{"metric"}, {"value", Align::kRight}, {"state"}});
  for (const Json& row : rows) {
    std::vector<std::string> start{text_in(row, "model"), text_in(row, "task")};
    if (adapters) start.push_back(text_in(row, "adapter").substr(0, 12));
    for (const std::string& name : differ) {
      const Json& value = member(member(row, "settings"), name.c_str());
      start.push_back(value.is_null() ? "" : scalar_text(value));
    }
    const auto add = [&](const std::string& name, const std::string& value) {
      std::vector<std::string> line = start;
      line.insert(line.end(), {name, value, text_in(row, "state")});
      sheet.rows.push_back(std::move(line));
    };
    if (!has_metrics(row))
      add("", "");
    else
      for (const auto& [name, metric] : metrics_of(row).items()) add(name, metric_text(metric));
  }
  return sheet;
}

std::string markdown_cell(const std::string& text) {
  std::string safe;
  for (const char c : shown(text, 400)) {
    if (c == '|' || c == '\\') safe += '\\';
    safe += c;
  }
  return safe;
}

void print_markdown(std::ostream& out, const Sheet& sheet) {
  out << "|";
  for (const Table::Column& column : sheet.titles) out << " " << markdown_cell(column.title) << " |";
  out << "\n|";
  for (const Table::Column& column : sheet.titles) out << (column.align == Align::kRight ? " ---: |" : " --- |");
  out << "\n";
  for (const auto& row : sheet.rows) {
    out << "|";
    for (const std::string& cell : row) out << " " << markdown_cell(cell) << " |";
    out << "\n";
  }
}

}  // namespace

std::string metric_text(const Json& metric) {
  const double value = number_in(metric, "value");
  const Json& error = member(metric, "stderr");
  if (!error.is_number()) return plain_number(value);
  const double size = error.get<double>();
  if (!(size > 0)) return plain_number(value) + " ± 0";
  const int decimals = decimals_for(size);
  // Where the digits end before the error begins, the value's own are all there is to say.
  if (size < std::pow(10.0, -decimals) / 2) return plain_number(value) + " ± " + format_error(size);
  return format_fixed(value, decimals) + " ± " + format_fixed(size, decimals);
}

std::string settings_text(const Json& settings) {
  std::set<std::string> all;
  if (settings.is_object())
    for (const auto& [name, value] : settings.items()) all.insert(name);
  return settings_text(settings, all);
}

std::string settings_text(const Json& settings, const std::set<std::string>& names) {
  std::vector<std::string> parts;
  if (settings.is_object())
    for (const auto& [name, value] : settings.items())
      if (names.contains(name)) parts.push_back(name + "=" + scalar_text(value));
  return join(parts, ", ");
}

std::set<std::string> settings_that_differ(const Json& rows) {
  std::set<std::string> names, differ;
  for (const Json& row : rows)
    if (const Json& settings = member(row, "settings"); settings.is_object())
      for (const auto& [name, value] : settings.items()) names.insert(name);
  for (const std::string& name : names) {
    // Kinds of cells have settings of their own: that the others have none of that name is no difference.
    std::map<std::string, const Json*> first_of;
    const Json* first = nullptr;
    for (const Json& row : rows) {
      const Json& value = member(member(row, "settings"), name.c_str());
      const Json* const of_kind = first_of.emplace(text_in(row, "kind"), &value).first->second;
      if (!first && !value.is_null()) first = &value;
      if (value != *of_kind || (first && !value.is_null() && value != *first)) differ.insert(name);
    }
  }
  return differ;
}

void print_results(std::ostream& out, const Style& style, const Json& rows, Form form) {
  if (!rows.is_array() || rows.empty()) return;
  Across across;
  const Sheet sheet = lay_across(rows, across) ? across_sheet(rows, across) : long_sheet(rows);
  if (form == Form::kMarkdown) return print_markdown(out, sheet);
  Table table(sheet.titles);
  for (const auto& row : sheet.rows) table.add(row);
  table.print(out, style);
}

void write_results_csv(std::ostream& out, const Json& rows) {
  write_csv_line(out, {"sweep", "key", "model", "task", "adapter", "settings", "state", "attempts", "gpu_seconds",
                       "seconds", "tokens", "tokens_per_second", "memory", "metric", "value", "stderr", "reason"});
  for (const Json& row : rows) {
    const auto write = [&](const std::string& metric, const std::string& value, const std::string& error) {
      const Json &settings = member(row, "settings"), &figures = member(row, "figures");
      write_csv_line(out,
                     {text_in(row, "sweep"), text_in(row, "key"), text_in(row, "model"), text_in(row, "task"),
                      text_in(row, "adapter"), settings.is_object() ? settings.dump() : "{}", text_in(row, "state"),
                      exact(member(row, "attempts")), exact(member(row, "gpu_seconds")), exact(member(row, "seconds")),
                      exact(member(figures, "tokens")), exact(member(figures, "tokens_per_second")),
                      exact(member(figures, "memory")), metric, value, error, text_in(row, "reason")});
    };
    if (!has_metrics(row))
      write("", "", "");
    else
      for (const auto& [name, metric] : metrics_of(row).items())
        write(name, exact(member(metric, "value")), exact(member(metric, "stderr")));
  }
}

}  // namespace orch::report
