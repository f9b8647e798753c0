// orchctl cache: the models that lie on the shared file system. What is done is in cache/; here is who asks for what,
// which models the daemon's jobs use, and how it is told.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <set>

#include "base/memory.h"
#include "base/text.h"
#include "base/units.h"
#include "cache/fetch.h"
#include "cache/prune.h"
#include "cache/stage.h"
#include "cache/verify.h"
#include "orchctl/load.h"
#include "orchctl/source.h"
#include "report/times.h"

namespace orch::orchctl {
namespace {

using nlohmann::ordered_json;

/// One model that was named.
struct Wanted {
  std::string id;
  std::string revision;
  std::vector<std::string> names;  ///< in the catalog
  std::optional<cache::Bytes> expected;
};

std::filesystem::path root_of(const CacheArguments& arguments) {
  return arguments.cache.empty() ? cache::usual_root() : std::filesystem::path(arguments.cache);
}

cache::Time now() { return std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now()); }

std::string utc(cache::Time at) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(at);
  std::tm parts{};
  gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string size_text(cache::Bytes bytes) { return format_bytes(static_cast<double>(bytes)); }

std::function<void(const std::string&)> tell_waiting(Session& session) {
  return [&session](const std::string& holder) {
    session.err << "orchctl: waiting for " << holder << ", which is at work in this cache" << std::endl;
  };
}

/// `text`'s bytes; an error sentence goes to `wrong`.
std::optional<cache::Bytes> budget_of(const CacheArguments& arguments, std::string& wrong) {
  const char* usual = std::getenv("ORCH_CACHE_BUDGET");
  const std::string text = !arguments.budget.empty() ? arguments.budget : usual ? usual : "";
  if (text.empty()) return std::nullopt;
  const auto bytes = parse_bytes(text);
  if (!bytes)
    wrong = (arguments.budget.empty() ? "ORCH_CACHE_BUDGET is " : "--budget is ") + quote(text) +
            ", expected bytes such as 500G or 2TB";
  return bytes ? std::optional<cache::Bytes>(static_cast<cache::Bytes>(*bytes)) : std::nullopt;
}

void add_model(std::vector<Wanted>& wanted, const Model& model, const std::string& revision) {
  const std::string at = revision.empty() ? model.revision : revision;
  auto same =
      std::ranges::find_if(wanted, [&](const Wanted& one) { return one.id == model.hf_id && one.revision == at; });
  if (same == wanted.end()) same = wanted.insert(wanted.end(), {model.hf_id, at, {}, std::nullopt});
  if (std::ranges::find(same->names, model.name) == same->names.end()) same->names.push_back(model.name);
  if (!same->expected && model.params > 0)
    same->expected = static_cast<cache::Bytes>(model.decoder ? weight_bytes(model, model.dtype)
                                                             : model.params * bytes_of(model.dtype));
}

/// Names and patterns of the catalog, or ids of the hub; an error sentence goes to `wrong`.
std::vector<Wanted> models_named(const Catalog& catalog, const CacheArguments& arguments, std::string& wrong) {
  std::vector<Wanted> wanted;
  for (const std::string& name : arguments.models) {
    const std::size_t before = wanted.size();
    bool known = false;
    for (const Model& model : catalog.models.all()) {
      if (!glob_match(name, model.name) && name != model.hf_id) continue;
      known = true;
      if (cache::is_repo_id(model.hf_id)) add_model(wanted, model, arguments.revision);
    }
    if (!known && name.find('/') != std::string::npos && cache::is_repo_id(name)) {
      known = true;
      const std::string at = arguments.revision.empty() ? "main" : arguments.revision;
      if (std::ranges::none_of(wanted, [&](const Wanted& one) { return one.id == name && one.revision == at; }))
        wanted.push_back({name, at, {}, std::nullopt});
    }
    if (!known) {
      wrong = "no model " + quote(name) + hint_sentence(name, catalog.models.names()) +
              " A model is a name or a pattern of the catalog (orchctl models), or org/name of the hub.";
      return {};
    }
    if (wanted.size() == before && !is_glob(name) && catalog.models.find(name) &&
        !cache::is_repo_id(catalog.models.find(name)->hf_id)) {
      wrong = "the model " + quote(name) + " has no repository on the hub";
      return {};
    }
  }
  for (const Wanted& one : wanted)
    if (!cache::is_revision(one.revision)) wrong = quote(one.revision) + " is no revision";
  return wanted;
}

/// Everything that the commands about models begin with.
struct Asked {
  Catalog catalog;
  std::vector<Wanted> models;
  std::optional<cache::Bytes> budget;
};

/// An exit code, or what was asked.
Result<Asked, int> understand(Session& session, const CacheArguments& arguments) {
  Diagnostics diagnostics;
  Asked asked{load_catalog(session, diagnostics), {}, std::nullopt};
  if (!diagnostics.ok()) return bad_input(session, diagnostics);
  std::string wrong;
  asked.budget = budget_of(arguments, wrong);
  if (wrong.empty()) asked.models = models_named(asked.catalog, arguments, wrong);
  if (!wrong.empty()) return bad_input(session, wrong);
  return asked;
}

// What the daemon's jobs use.

/// The names of the models of a sweep's cells, which are many: each row is forgotten once it is read.
Result<std::monostate> models_of_cells(const std::string& text, std::set<std::string>& names) {
  const auto rows = nlohmann::json::parse(
      text,
      [&](int depth, nlohmann::json::parse_event_t event, nlohmann::json& value) {
        if (depth != 1 || event != nlohmann::json::parse_event_t::object_end) return true;
        if (const auto model = value.find("model"); model != value.end() && model->is_string()) names.insert(*model);
        return false;
      },
      false);
  if (!rows.is_array()) return Error{"the list of a sweep's cells is not what it should be"};
  return std::monostate{};
}

std::string text_in(const ordered_json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

/// The models, by the names that matrices use, of all jobs that have not ended and of all cells that such jobs may
/// still take. While the daemon is down its store says so: nothing new can have begun since.
Result<std::set<std::string>> models_in_use(Session& session) {
  Source source(session);
  const auto status = source.status("");
  std::set<std::string> names;
  if (!status) {
    std::error_code ignored;
    const bool nothing_ever =
        status.error().nobody && !std::filesystem::exists(database_directory(session) / "orch.db", ignored);
    if (nothing_ever) return names;
    return Error{status.error().what};
  }
  const auto list = [&](const char* name) {
    const auto found = status->find(name);
    return found != status->end() && found->is_array() ? *found : ordered_json::array();
  };
  for (const ordered_json& job : list("jobs")) {
    const std::string model = text_in(job, "model");
    // `a + 2 more`: the others are among the cells.
    if (text_in(job, "state") != "ended" && !model.empty()) names.insert(model.substr(0, model.find(" + ")));
  }
  for (const ordered_json& sweep : list("sweeps")) {
    const std::string state = text_in(sweep, "state");
    if (state == "done" || state == "failed" || state == "cancelled") continue;
    for (const char* cells : {"blocked", "waiting", "running"}) {
      const auto rows = source.cells(text_in(sweep, "id"), cells);
      if (!rows) return Error{rows.error().what};
      if (const auto read = models_of_cells(*rows, names); !read) return read.error();
    }
  }
  return names;
}

/// By id of the hub. A model that the catalog does not know may be any: then nobody knows what is in use.
Result<std::map<std::string, std::string>> ids_in_use(Session& session, const Catalog& catalog, bool force) {
  std::map<std::string, std::string> ids;
  if (force) return ids;
  const auto names = models_in_use(session);
  if (!names) return names.error();
  for (const std::string& name : *names) {
    const Model* model = catalog.models.find(name);
    if (model)
      ids.emplace(model->hf_id, "a job of the daemon uses it, or is going to");
    else if (cache::is_repo_id(name) && name.find('/') != std::string::npos)
      ids.emplace(name, "a job of the daemon uses it, or is going to");
    else
      return Error{"jobs use " + quote(name) +
                   ", which the catalog does not know, so which files they read is not known"};
  }
  return ids;
}

constexpr const char* kForceMeans = "; --force takes it that nothing is in use but what --keep names";

// Telling.

ordered_json json_of(const cache::Removal& removal) {
  return {{"id", removal.id},
          {"commit", removal.commit},
          {"refs", removal.refs},
          {"bytes", removal.bytes},
          {"last_used", utc(removal.last_used)}};
}

ordered_json json_of(const std::vector<cache::Removal>& removals) {
  ordered_json list = ordered_json::array();
  for (const cache::Removal& removal : removals) list.push_back(json_of(removal));
  return list;
}

ordered_json shown_list(const std::vector<std::string>& texts) {
  ordered_json list = ordered_json::array();
  for (const std::string& text : texts) list.push_back(text);
  return list;
}

std::map<std::string, std::vector<std::string>> catalog_names(const Catalog& catalog) {
  std::map<std::string, std::vector<std::string>> names;
  for (const Model& model : catalog.models.all()) names[model.hf_id].push_back(model.name);
  return names;
}

ordered_json json_of(const cache::Repo& repo, const std::vector<std::string>& names) {
  ordered_json revisions = ordered_json::array();
  for (const cache::Revision& revision : repo.revisions)
    revisions.push_back({{"commit", revision.commit},
                         {"refs", revision.refs},
                         {"files", revision.files.size()},
                         {"bytes", revision.bytes},
                         {"whole", revision.whole()},
                         {"lacks", shown_list(revision.lacks)},
                         {"last_used", utc(revision.last_used)}});
  return {{"kind", cache::name_of(repo.name.kind)},
          {"id", repo.name.id},
          {"names", names},
          {"bytes", repo.bytes},
          {"partial_bytes", repo.partial_bytes},
          {"revisions", revisions},
          {"problems", shown_list(repo.problems)}};
}

std::string revision_text(const cache::Revision& revision) {
  return (revision.refs.empty() ? std::string() : join(revision.refs, ", ") + " ") + revision.commit.substr(0, 8);
}

void print_table(Session& session, const cache::Contents& contents,
                 const std::map<std::string, std::vector<std::string>>& names) {
  report::Table table({{"repository"},
                       {"name"},
                       {"revision"},
                       {"size", report::Align::kRight},
                       {"last used"},
                       {"state", report::Align::kLeft, 120}});
  for (const cache::Repo& repo : contents.repos) {
    const std::string id = repo.name.kind == cache::Kind::kModel
                               ? repo.name.id
                               : std::string(name_of(repo.name.kind)) + " " + repo.name.id;
    const auto known = names.find(repo.name.id);
    const std::string name =
        repo.name.kind == cache::Kind::kModel && known != names.end() ? join(known->second, ", ") : "-";
    const std::string partial =
        repo.partial_bytes > 0 ? size_text(repo.partial_bytes) + " of broken-off or running downloads" : "";
    if (repo.revisions.empty())
      table.add({id, name, "-", size_text(repo.bytes), "-", partial.empty() ? "nothing whole" : partial});
    for (const cache::Revision& revision : repo.revisions)
      table.add({id, name, revision_text(revision), size_text(revision.bytes),
                 report::local_time(utc(revision.last_used)),
                 revision.whole() ? "whole"
                                  : "not whole: " + revision.lacks.front() + (partial.empty() ? "" : "; " + partial)});
  }
  table.print(session.out, session.style);
}

int fail(Session& session, const std::string& what) {
  session.err << "orchctl: " << shown(what, 4000) << "\n";
  return kFailed;
}

void print_removals(Session& session, const std::vector<cache::Removal>& removals, bool dry_run) {
  for (const cache::Removal& removal : removals)
    session.out << (dry_run ? "would remove " : "removed ") << removal.id << " " << removal.commit.substr(0, 8) << " ("
                << size_text(removal.bytes) << ", last used " << report::local_time(utc(removal.last_used)) << ")\n";
}

/// What the hub's program prints, as it comes; not between the lines of --json.
cache::Show show_on(Session& session) {
  return [&session](std::string_view text) {
    session.err << text;
    session.err.flush();
  };
}

ordered_json fetched_json(const Wanted& wanted, const Result<cache::Fetched, cache::FetchError>& ended) {
  ordered_json json = {{"id", wanted.id}, {"names", wanted.names}, {"revision", wanted.revision}};
  json["state"] = !ended ? "failed" : ended->state == cache::FetchState::kFetched ? "fetched" : "unchanged";
  json["failure"] = ended ? ordered_json() : ordered_json(ended.error().kind);
  json["what"] = ended ? ordered_json() : ordered_json(shown(ended.error().what, 4000));
  json["commit"] = ended ? ordered_json(ended->commit) : ordered_json();
  json["path"] = ended ? ordered_json(ended->path.string()) : ordered_json();
  json["bytes"] = ended ? ended->bytes : 0;
  json["removed"] = ended ? json_of(ended->removed) : ordered_json::array();
  json["over_budget_bytes"] = ended ? ended->over_budget : 0;
  return json;
}

void print_fetched(Session& session, const Wanted& wanted, const Result<cache::Fetched, cache::FetchError>& ended) {
  if (!ended) {
    fail(session, ended.error().what);
    return;
  }
  print_removals(session, ended->removed, false);
  session.out << wanted.id << " " << ended->commit.substr(0, 8) << " is "
              << (ended->state == cache::FetchState::kFetched ? "in the cache" : "as it was") << ": "
              << size_text(ended->bytes) << ", " << ended->path.string() << "\n";
  if (ended->over_budget > 0)
    session.err << "orchctl: the cache is now " << size_text(ended->over_budget)
                << " over its budget: the repository was larger than its weights\n";
}

/// Which revisions are meant: of the models named, or all.
std::vector<std::pair<const cache::Repo*, const cache::Revision*>> chosen_revisions(const cache::Contents& contents,
                                                                                    const std::vector<Wanted>& models,
                                                                                    std::string& missing) {
  std::vector<std::pair<const cache::Repo*, const cache::Revision*>> chosen;
  for (const Wanted& wanted : models) {
    const cache::Repo* repo = contents.find({cache::Kind::kModel, wanted.id});
    const cache::Revision* revision = repo ? repo->find(wanted.revision) : nullptr;
    if (revision)
      chosen.emplace_back(repo, revision);
    else
      missing += (missing.empty() ? "" : ", ") + wanted.id + " at " + wanted.revision;
  }
  if (models.empty())
    for (const cache::Repo& repo : contents.repos)
      for (const cache::Revision& revision : repo.revisions) chosen.emplace_back(&repo, &revision);
  return chosen;
}

}  // namespace

int cache_list(Session& session, const CacheArguments& arguments) {
  const auto asked = understand(session, arguments);
  if (!asked) return asked.error();
  const auto contents = cache::read_cache(root_of(arguments), cache::Look::kNames);
  if (!contents) return fail(session, contents.error().what);
  const auto free = cache::free_bytes(contents->root);
  const auto names = catalog_names(asked->catalog);
  if (session.json) {
    ordered_json repos = ordered_json::array();
    for (const cache::Repo& repo : contents->repos) {
      const auto known = names.find(repo.name.id);
      repos.push_back(json_of(repo, repo.name.kind == cache::Kind::kModel && known != names.end()
                                        ? known->second
                                        : std::vector<std::string>()));
    }
    print_json(session, {{"cache", contents->root.string()},
                         {"bytes", contents->bytes},
                         {"budget_bytes", asked->budget ? ordered_json(*asked->budget) : ordered_json()},
                         {"free_bytes", free ? ordered_json(*free) : ordered_json()},
                         {"repositories", repos},
                         {"problems", shown_list(contents->problems)}});
    return kWell;
  }
  print_table(session, *contents, names);
  session.out << contents->root.string() << ": "
              << counted(static_cast<long long>(contents->repos.size()), "repository", "repositories") << ", "
              << size_text(contents->bytes) << (asked->budget ? " of " + size_text(*asked->budget) : std::string())
              << (free ? ", " + size_text(*free) + " free on the disk" : std::string()) << "\n";
  for (const std::string& problem : contents->problems) session.err << "orchctl: " << problem << "\n";
  for (const cache::Repo& repo : contents->repos)
    for (const std::string& problem : repo.problems)
      session.err << "orchctl: " << repo.name.id << ": " << problem << "\n";
  return kWell;
}

int cache_fetch(Session& session, const CacheArguments& arguments) {
  const auto asked = understand(session, arguments);
  if (!asked) return asked.error();
  ordered_json all = ordered_json::array();
  int code = kWell;
  for (const Wanted& wanted : asked->models) {
    cache::FetchAsk ask;
    ask.root = root_of(arguments);
    ask.id = wanted.id;
    ask.revision = wanted.revision;
    ask.expected = wanted.expected;
    ask.budget = asked->budget;
    ask.in_use = [&]() { return ids_in_use(session, asked->catalog, arguments.force); };
    ask.quiet = isatty(STDERR_FILENO) != 1;
    ask.now = now();
    const auto ended = cache::fetch(ask, show_on(session), tell_waiting(session));
    if (!ended) code = kFailed;
    if (session.json)
      all.push_back(fetched_json(wanted, ended));
    else
      print_fetched(session, wanted, ended);
    session.out.flush();
  }
  if (session.json) print_json(session, all);
  return code;
}

int cache_verify(Session& session, const CacheArguments& arguments) {
  const auto asked = understand(session, arguments);
  if (!asked) return asked.error();
  const auto contents = cache::read_cache(root_of(arguments), cache::Look::kNames);
  if (!contents) return fail(session, contents.error().what);
  std::string missing;
  ordered_json all = ordered_json::array();
  int code = kWell;
  for (const auto& [repo, chosen] : chosen_revisions(*contents, asked->models, missing)) {
    const auto held = cache::verify_held(contents->root, repo->name, chosen->commit, tell_waiting(session));
    if (!held) return fail(session, held.error().what);
    if (!*held) {
      session.err << "orchctl: " << repo->name.id << " " << revision_text(*chosen)
                  << " was removed while others were read\n";
      continue;
    }
    const cache::Revision* const revision = &(*held)->revision;
    const cache::Verified& verified = (*held)->verified;
    std::string removed;
    if (arguments.remove_damaged && !verified.damaged_blobs.empty()) {
      const auto gone = cache::remove_blobs(contents->root, repo->name, verified.damaged_blobs);
      removed = gone ? "removed; orchctl cache fetch brings them anew" : gone.error().what;
    }
    const bool well = verified.well() && revision->whole();
    if (!well) code = kFailed;
    if (session.json) {
      all.push_back(
          {{"kind", cache::name_of(repo->name.kind)},
           {"id", repo->name.id},
           {"commit", revision->commit},
           {"well", well},
           {"right", verified.right},
           {"unnamed", verified.unnamed},
           {"damaged", shown_list(verified.damaged)},
           {"unreadable", shown_list(verified.unreadable)},
           {"lacks", shown_list(revision->lacks)},
           {"removed", arguments.remove_damaged && !verified.damaged_blobs.empty() && removed.starts_with("removed")}});
      continue;
    }
    session.out << repo->name.id << " " << revision_text(*revision) << ": "
                << counted(static_cast<long long>(verified.right), "file") << " right"
                << (verified.unnamed > 0 ? ", " + std::to_string(verified.unnamed) + " that nothing can be said about"
                                         : "")
                << "\n";
    for (const std::string& name : verified.damaged)
      session.out << "  " << quote(name) << " is damaged: its bytes are not those of its name"
                  << (removed.empty() ? "" : " (" + removed + ")") << "\n";
    for (const std::string& name : verified.unreadable) session.out << "  " << quote(name) << " cannot be read\n";
    for (const std::string& lack : revision->lacks) session.out << "  not whole: " << lack << "\n";
    session.out.flush();
  }
  if (session.json) print_json(session, all);
  return missing.empty() ? code : fail(session, missing + " is not in the cache " + contents->root.string());
}

int cache_prune(Session& session, const CacheArguments& arguments) {
  const auto asked = understand(session, arguments);
  if (!asked) return asked.error();
  cache::PruneAsk ask;
  ask.budget = asked->budget;
  ask.now = now();
  if (!arguments.older_than.empty()) {
    const auto seconds = parse_duration(arguments.older_than);
    if (!seconds)
      return bad_input(session,
                       "--older-than is " + quote(arguments.older_than) + ", expected a time such as 30d or 12h");
    ask.older_than = std::chrono::seconds(static_cast<std::int64_t>(*seconds));
  }
  auto in_use = ids_in_use(session, asked->catalog, arguments.force);
  if (!in_use)
    return fail(session,
                "nothing was removed, because what is in use is not known: " + in_use.error().what + kForceMeans);
  ask.keep = *std::move(in_use);
  for (const Wanted& wanted : asked->models) ask.keep.emplace(wanted.id, "--keep names it");
  const auto plan = cache::prune(root_of(arguments), ask, arguments.dry_run, tell_waiting(session));
  if (!plan) return fail(session, plan.error().what);
  cache::Bytes leftovers = 0;
  for (const cache::Leftover& leftover : plan->leftovers) leftovers += leftover.bytes;
  if (session.json) {
    ordered_json kept = ordered_json::array();
    for (const auto& [id, why] : plan->kept) kept.push_back({{"id", id}, {"why", shown(why, 1000)}});
    print_json(session, {{"cache", root_of(arguments).string()},
                         {"dry_run", arguments.dry_run},
                         {"before_bytes", plan->before},
                         {"after_bytes", plan->after},
                         {"budget_bytes", ask.budget ? ordered_json(*ask.budget) : ordered_json()},
                         {"over_budget_bytes", plan->lacking},
                         {"removed", json_of(plan->removals)},
                         {"leftovers_bytes", leftovers},
                         {"kept", kept}});
    return plan->lacking > 0 ? kFailed : kWell;
  }
  print_removals(session, plan->removals, arguments.dry_run);
  if (!plan->leftovers.empty())
    session.out << (arguments.dry_run ? "would remove " : "removed ") << size_text(leftovers)
                << " of broken-off downloads and of blobs that no revision has\n";
  for (const auto& [id, why] : plan->kept) session.out << "kept " << id << ": " << shown(why, 1000) << "\n";
  session.out << "the cache " << (arguments.dry_run ? "has " : "had ") << size_text(plan->before)
              << (arguments.dry_run ? " and would have " : " and has ") << size_text(plan->after)
              << (arguments.dry_run ? "" : " now") << "\n";
  if (plan->lacking == 0) return kWell;
  return fail(session, "it is still " + size_text(plan->lacking) + " over its budget of " + size_text(*ask.budget) +
                           ": what is left is kept, or no model");
}

int cache_stage(Session& session, const CacheArguments& arguments) {
  const auto asked = understand(session, arguments);
  if (!asked) return asked.error();
  if (asked->models.size() != 1)
    return bad_input(session, "stage takes one model, and " + quote(arguments.models.front()) + " means " +
                                  counted(static_cast<long long>(asked->models.size()), "model"));
  const Wanted& wanted = asked->models.front();
  const auto staged =
      cache::stage({root_of(arguments), wanted.id, wanted.revision, arguments.to, tell_waiting(session)});
  if (!staged) return fail(session, staged.error().what);
  if (session.json)
    print_json(session, {{"id", wanted.id},
                         {"commit", staged->commit},
                         {"path", staged->path.string()},
                         {"files", staged->files},
                         {"bytes", staged->bytes},
                         {"copied", staged->copied}});
  else
    session.out << staged->path.string() << "\n";
  return kWell;
}

}  // namespace orch::orchctl
