#include "report/status_report.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <ostream>
#include <vector>

#include "base/text.h"
#include "base/units.h"
#include "report/curve_report.h"
#include "report/json_values.h"
#include "report/plan_report.h"
#include "report/results_report.h"
#include "report/times.h"

namespace orch::report {
namespace {

constexpr std::size_t kNewestEnded = 10;
constexpr std::size_t kKeyShown = 12;

bool is_live(const Json& sweep) {
  const std::string state = text_in(sweep, "state");
  return state == "running" || state == "held";
}

std::string time_in(const Json& object, const char* name) {
  const std::string utc = text_in(object, name);
  return utc.empty() ? "-" : local_time(utc);
}

/// A reason with the end of a log in it takes one line.
std::string sentence_in(const Json& object, const char* name) {
  std::string text = text_in(object, name);
  for (std::size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 3))
    text.replace(at, 1, " | ");
  return text;
}

std::string or_dash(const std::string& text) { return text.empty() ? "-" : text; }

/// Names of a list, joined.
std::string names_in(const Json& object, const char* name) {
  std::vector<std::string> names;
  const Json& list = member(object, name);
  if (list.is_array())
    for (const Json& item : list)
      if (item.is_string()) names.push_back(item.get<std::string>());
  return join(names, ", ");
}

/// GPUs may be parts of one.
std::string gpus_text(double gpus) {
  const auto whole = static_cast<long long>(gpus);
  return static_cast<double>(whole) == gpus ? grouped(whole) : format_fixed(gpus, 2);
}

std::string eta_text(const Json& sweep) {
  const Json& eta = member(sweep, "eta_s");
  return !is_live(sweep) || !eta.is_number() ? "-" : format_duration(eta.get<double>());
}

void print_daemon(std::ostream& out, const Json& daemon) {
  if (text_in(daemon, "state") == "down") {
    out << "The daemon is down; this is what its store holds. orchctl up starts it.\n";
    return;
  }
  out << "The daemon is " << shown(or_dash(text_in(daemon, "state"))) << " since " << shown(time_in(daemon, "since"));
  if (const std::string host = text_in(daemon, "host"); !host.empty()) out << " on " << shown(host);
  std::vector<std::string> rest;
  if (const std::string cluster = text_in(daemon, "cluster"); !cluster.empty()) rest.push_back("cluster " + cluster);
  if (const std::string policy = text_in(daemon, "policy"); !policy.empty()) rest.push_back("policy " + policy);
  if (const std::string version = text_in(daemon, "version"); !version.empty()) rest.push_back("version " + version);
  if (!rest.empty()) out << " (" << shown(join(rest, ", "), 400) << ")";
  out << ".\n";
}

/// Those that are live and the newest of the others, in their order.
std::vector<const Json*> sweeps_to_show(const Json& sweeps, std::size_t& left_out) {
  std::vector<const Json*> chosen;
  std::size_t ended = 0;
  left_out = 0;
  if (!sweeps.is_array()) return chosen;
  for (std::size_t i = sweeps.size(); i-- > 0;) {
    if (!is_live(sweeps[i]) && ++ended > kNewestEnded)
      ++left_out;
    else
      chosen.push_back(&sweeps[i]);
  }
  std::reverse(chosen.begin(), chosen.end());
  return chosen;
}

void print_sweeps(std::ostream& out, const Style& style, const std::vector<const Json*>& sweeps) {
  Table table({{"sweep"},
               {"name", Align::kLeft, 30},
               {"state"},
               {"cells", Align::kRight},
               {"done", Align::kRight},
               {"running", Align::kRight},
               {"waiting", Align::kRight},
               {"failed", Align::kRight},
               {"GPU-hours", Align::kRight},
               {"left", Align::kRight},
               {"submitted"}});
  for (const Json* sweep : sweeps) {
    const Json& cells = member(*sweep, "cells");
    table.add({text_in(*sweep, "id"), text_in(*sweep, "name"), text_in(*sweep, "state"),
               grouped(count_in(cells, "total") - count_in(cells, "rejected")), grouped(count_in(cells, "done")),
               grouped(count_in(cells, "running")), grouped(count_in(cells, "waiting")),
               grouped(count_in(cells, "failed")), format_hours(number_in(*sweep, "gpu_hours")), eta_text(*sweep),
               time_in(*sweep, "submitted")});
  }
  table.print(out, style);
}

void line(std::ostream& out, const char* name, const std::string& text) {
  if (text.empty()) return;
  const std::string label = std::string(name) + ":";
  out << "  " << label << std::string(label.size() < 12 ? 12 - label.size() : 1, ' ') << shown(text, 2000) << "\n";
}

std::string need_text(const Json& need) {
  std::string text = gpus_text(number_in(need, "gpus")) + (number_in(need, "gpus") == 1 ? " GPU" : " GPUs");
  if (count_in(need, "nodes") > 1) text += " on " + counted(count_in(need, "nodes"), "node");
  text += ", " + counted(count_in(need, "cpus"), "CPU");
  if (number_in(need, "memory") > 0) text += ", " + format_bytes(number_in(need, "memory")) + " a node";
  if (const std::string profile = text_in(need, "profile"); !profile.empty()) text += ", profile " + profile;
  return text;
}

std::string sweeps_text(const Json& sweeps) {
  std::vector<std::string> texts;
  if (sweeps.is_array())
    for (const Json& sweep : sweeps)
      texts.push_back(text_in(sweep, "id") + " " + text_in(sweep, "name") + " (" + text_in(sweep, "state") + ")");
  return join(texts, ", ");
}

void print_metrics(std::ostream& out, const Style& style, const Json& metrics) {
  if (!metrics.is_object() || metrics.empty()) return;
  Table table({{"metric"}, {"value", Align::kRight}});
  for (const auto& [name, metric] : metrics.items()) table.add({name, metric_text(metric)});
  out << "\n";
  table.print(out, style);
}

void print_failures(std::ostream& out, const Style& style, const Json& failures) {
  if (!failures.is_array() || failures.empty()) return;
  Table table({{"failed"}, {"job"}, {"cause"}, {"then"}, {"reason", Align::kLeft, 2000}});
  for (const Json& failure : failures)
    table.add({time_in(failure, "at"), or_dash(text_in(failure, "job")), text_in(failure, "cause"),
               text_in(failure, "remedy"), sentence_in(failure, "reason")});
  out << "\n";
  table.print(out, style);
}

/// What the native engine counted; nothing of other engines.
std::string figures_text(const Json& figures) {
  if (!member(figures, "tokens").is_number()) return "";
  const long long tokens = count_in(figures, "tokens"), alone = count_in(figures, "tokens_without_sharing");
  std::string text = counted(count_in(figures, "samples"), "sample") + ", " + counted(tokens, "token");
  if (alone > tokens) text += " (" + grouped(alone) + " if nothing were shared)";
  if (const long long written = count_in(figures, "tokens_written"); written > 0)
    text += ", " + grouped(written) + " of them written";
  if (const double rate = number_in(figures, "tokens_per_second"); rate > 0)
    text += ", " + grouped(std::llround(rate)) + " a second";
  return text + ", at most " + format_bytes(number_in(figures, "memory")) + " of a process";
}

/// Over all layers: which expert is busiest, and which layer the least even.
std::string experts_text(const Json& layers) {
  if (!layers.is_array() || layers.empty()) return "";
  const Json *busiest = &layers[0], *uneven = &layers[0];
  long long unused = 0, all = 0;
  for (const Json& layer : layers) {
    if (number_in(layer, "busiest") > number_in(*busiest, "busiest")) busiest = &layer;
    if (number_in(layer, "evenness") < number_in(*uneven, "evenness")) uneven = &layer;
    unused += count_in(layer, "unused");
    all += count_in(layer, "experts");
  }
  const auto percent = [](double share) { return format_fixed(100 * share, 1) + " %"; };
  return grouped(unused) + " of " + grouped(all) + " never chosen; the busiest has " +
         percent(number_in(*busiest, "busiest")) + " of layer " + std::to_string(count_in(*busiest, "layer")) +
         "; the least even is layer " + std::to_string(count_in(*uneven, "layer")) + " (" +
         percent(number_in(*uneven, "evenness")) + ")";
}

}  // namespace

void print_job_list(std::ostream& out, const Style& style, const Json& jobs) {
  Table table({{"job"},
               {"Slurm job"},
               {"state"},
               {"GPUs", Align::kRight},
               {"profile"},
               {"model", Align::kLeft, 30},
               {"cells done", Align::kRight},
               {"limit", Align::kRight},
               {"started"},
               {"nodes", Align::kLeft, 30},
               {"reason", Align::kLeft, 400}});
  for (const Json& job : jobs)
    table.add({text_in(job, "id"), or_dash(text_in(job, "slurm_job_id")), text_in(job, "state"),
               gpus_text(number_in(job, "gpus")), text_in(job, "profile"), or_dash(text_in(job, "model")),
               grouped(count_in(job, "cells_done")), format_duration(number_in(job, "time_limit_s")),
               time_in(job, "started"), or_dash(names_in(job, "nodes")), sentence_in(job, "reason")});
  table.print(out, style);
}

void print_status(std::ostream& out, const Style& style, const Json& status) {
  print_daemon(out, member(status, "daemon"));
  std::size_t left_out = 0;
  const auto sweeps = sweeps_to_show(member(status, "sweeps"), left_out);
  if (sweeps.empty())
    out << "\nNo sweep was submitted yet; orchctl submit-matrix FILE submits one.\n";
  else
    out << "\n";
  print_sweeps(out, style, sweeps);
  if (left_out > 0)
    out << "  … and " << counted(static_cast<long long>(left_out), "older sweep") << " that ended (--json lists all)\n";
  Json current = Json::array();
  const Json& jobs = member(status, "jobs");
  if (jobs.is_array())
    for (const Json& job : jobs)
      if (text_in(job, "state") != "ended") current.push_back(job);
  if (!current.empty()) {
    out << "\n";
    print_job_list(out, style, current);
  }
  const Json& trainings = member(status, "trainings");
  if (!trainings.is_array() || trainings.empty()) return;
  out << "\n";
  print_trainings(out, style, trainings);
}

void print_cell_list(std::ostream& out, const Style& style, const Json& cells) {
  Table table({{"key"},
               {"model"},
               {"task"},
               {"state"},
               {"score", Align::kRight},
               {"attempts", Align::kRight},
               {"job"},
               {"reason", Align::kLeft, 400}});
  for (const Json& cell : cells)
    table.add({text_in(cell, "key").substr(0, kKeyShown), text_in(cell, "model"), text_in(cell, "task"),
               text_in(cell, "state"), format_fixed(number_in(cell, "score"), 3), grouped(count_in(cell, "attempts")),
               or_dash(text_in(cell, "job")), sentence_in(cell, "reason")});
  table.print(out, style);
}

Json sweep_details(const Json& sweep, const Json& cells) {
  std::map<std::pair<std::string, std::string>, std::pair<long long, std::string>> reasons;
  for (const Json& cell : cells) {
    const std::string state = text_in(cell, "state"), reason = text_in(cell, "reason");
    if (state == "done" || reason.empty()) continue;
    auto& [count, example] = reasons[{state, reason}];
    if (count++ == 0) example = text_in(cell, "key");
  }
  std::vector<Json> rows;
  for (const auto& [what, of] : reasons)
    rows.push_back({{"cells", of.first}, {"state", what.first}, {"example", of.second}, {"reason", what.second}});
  std::stable_sort(rows.begin(), rows.end(),
                   [](const Json& a, const Json& b) { return count_in(a, "cells") > count_in(b, "cells"); });
  return {{"sweep", sweep}, {"reasons", rows}};
}

void print_sweep_details(std::ostream& out, const Style& style, const Json& details) {
  const Json& sweep = member(details, "sweep");
  out << bold(style, shown("sweep " + text_in(sweep, "id") + " " + text_in(sweep, "name"))) << " is "
      << shown(text_in(sweep, "state")) << ": " << progress_of(sweep) << ".\n";
  Table table({{"cells", Align::kRight}, {"state"}, {"one of them"}, {"reason", Align::kLeft, 2000}});
  for (const Json& row : member(details, "reasons"))
    table.add({grouped(count_in(row, "cells")), text_in(row, "state"), text_in(row, "example").substr(0, kKeyShown),
               sentence_in(row, "reason")});
  if (table.rows() == 0) return;
  out << "\n";
  table.print(out, style);
}

void print_job_details(std::ostream& out, const Style& style, const Json& job) {
  out << bold(style, shown("job " + text_in(job, "id"))) << " is " << shown(text_in(job, "state"));
  if (const std::string reason = sentence_in(job, "reason"); !reason.empty()) out << ": " << shown(reason, 2000);
  out << "\n";
  const std::string cluster_id = text_in(job, "slurm_job_id");
  line(out, "in Slurm", text_in(job, "name") + (cluster_id.empty() ? "" : ", job " + cluster_id));
  line(out, "for",
       text_in(job, "sweep") + (text_in(job, "model").empty() ? std::string() : ", model " + text_in(job, "model")));
  line(out, "has", need_text(member(job, "need")) + ", for " + format_duration(number_in(job, "time_limit_s")));
  line(out, "on", names_in(job, "nodes"));
  line(out, "not on", names_in(job, "excluded_nodes"));
  line(out, "submitted", time_in(job, "submitted"));
  if (!text_in(job, "started").empty()) line(out, "started", time_in(job, "started"));
  if (!text_in(job, "ended").empty()) line(out, "ended", time_in(job, "ended"));
  line(out, "done",
       counted(count_in(job, "cells_done"), "cell") + ", " + format_hours(number_in(job, "gpu_hours")) + " GPU-hours");
  line(out, "works on", names_in(job, "leases"));
  line(out, "directory", text_in(job, "directory"));
  line(out, "script", text_in(job, "script"));
  line(out, "log", text_in(job, "log"));
}

void print_cell_details(std::ostream& out, const Style& style, const Json& cell) {
  const std::string model = text_in(cell, "model"), task = text_in(cell, "task");
  const std::string of = model + (model.empty() || task.empty() ? "" : "/") + task;
  out << bold(style, shown("cell " + text_in(cell, "key").substr(0, kKeyShown)))
      << (of.empty() ? "" : " (" + shown(of, 200) + ")") << " is " << shown(text_in(cell, "state"));
  if (text_in(cell, "state") != "done") out << ": " << shown(sentence_in(cell, "why"), 2000);
  out << ".\n";
  line(out, "key", text_in(cell, "key") + " = " + text_in(cell, "cell"));
  if (const Json& settings = member(cell, "settings"); settings.is_object() && !settings.empty())
    line(out, "settings", settings_text(settings));
  line(out, "adapter", text_in(cell, "adapter"));
  if (const Json& progress = member(cell, "progress"); progress.is_number())
    line(out, "progress", format_fixed(100 * progress.get<double>(), 1) + " %");
  line(out, "training", training_text(member(cell, "live")));
  line(out, "needs", need_text(member(cell, "need")));
  line(out, "takes",
       "about " + format_duration(number_in(cell, "expected_s")) + ", at most " +
           format_duration(number_in(cell, "bound_s")) +
           (text_in(cell, "expected_from").empty() ? "" : " (" + shown(text_in(cell, "expected_from"), 200) + ")"));
  std::string place = format_fixed(number_in(cell, "score"), 3);
  if (const long long position = count_in(cell, "position"); position > 0)
    place += ", number " + grouped(position) + " of its kind";
  line(out, "score", place);
  line(out, "wanted by", sweeps_text(member(cell, "sweeps")));
  line(out, "counted", figures_text(member(cell, "figures")));
  line(out, "experts", experts_text(member(member(cell, "figures"), "experts")));
  print_metrics(out, style, member(cell, "metrics"));
  print_failures(out, style, member(cell, "failures"));
}

void print_event(std::ostream& out, const Json& event) {
  std::string about = text_in(event, "sweep");
  for (const char* const name : {"job", "cell"})
    if (const std::string id = text_in(event, name); !id.empty()) about += (about.empty() ? "" : " ") + id;
  out << shown(local_time(text_in(event, "at"), Precision::kSeconds)) << "  " << shown(text_in(event, "kind"))
      << (about.empty() ? "" : "  " + shown(about)) << "  " << shown(sentence_in(event, "text"), 4000) << "\n";
}

std::string progress_of(const Json& sweep) {
  const Json& cells = member(sweep, "cells");
  std::string text = grouped(count_in(cells, "done")) + " of " +
                     counted(count_in(cells, "total") - count_in(cells, "rejected"), "cell") + " done";
  const std::pair<const char*, const char*> others[] = {
      {"running", " running"}, {"failed", " failed"}, {"cancelled", " cancelled"}};
  for (const auto& [name, words] : others)
    if (const long long count = count_in(cells, name); count > 0) text += ", " + grouped(count) + words;
  if (text_in(sweep, "state") == "held") return text + ", held";
  if (const std::string left = eta_text(sweep); left != "-") text += ", about " + left + " left";
  return text;
}

}  // namespace orch::report
