#include "orchd/daemon.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <condition_variable>
#include <future>
#include <mutex>
#include <sstream>

#include "api/routes.h"
#include "api/worker_calls.h"
#include "base/text.h"
#include "base/whole_file.h"
#include "cache/contents.h"
#include "control/asking.h"
#include "control/planning.h"
#include "http/certificate.h"
#include "http/server.h"
#include "inputs/weights.h"
#include "link/directory.h"
#include "notify/target.h"
#include "orchd/cluster_desk.h"
#include "orchd/errands.h"
#include "orchd/housekeeper.h"
#include "orchd/mail_room.h"
#include "orchd/messenger.h"
#include "orchd/strand.h"
#include "policy/ceilings.h"

namespace orch::orchd {
namespace {

namespace fs = std::filesystem;
namespace action = control::action;
namespace event = control::event;

std::string host_name() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

Result<http::TlsListen> tls_of(const Options& options) {
  http::TlsListen tls;
  const auto colon = options.listen.rfind(':');
  const std::string port = colon == std::string::npos ? "" : options.listen.substr(colon + 1);
  tls.address = options.listen.substr(0, colon);
  const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), tls.port);
  if (colon == std::string::npos || error != std::errc() || end != port.data() + port.size())
    return Error{"--listen takes ADDRESS:PORT (port 0: any that is free), not " + quote(options.listen)};
  std::vector<std::string> names = options.addresses;
  if (names.empty()) names.push_back(host_name());
  auto certificate =
      http::keep_certificate(options.state / "certificate.pem", options.state / "key.pem", names, options.log);
  if (!certificate) return certificate.error();
  tls.certificate = *std::move(certificate);
  return tls;
}

}  // namespace

class Daemon::Inside : public api::Desk {
 public:
  static Result<std::unique_ptr<Inside>> start(Options options, std::unique_ptr<cluster::Cluster> cluster);
  ~Inside() override;

  // api::Desk
  void put(control::Event event, Answered answered) override { strand_->put(std::move(event), std::move(answered)); }
  void look(std::function<void(const control::State&, control::Now)> read) override {
    strand_->look_settled(std::move(read));
  }
  void later(std::function<void()> work) override { reports_.put(std::move(work)); }
  const store::Store& store() const override { return *store_; }
  api::DaemonView view() const override { return view_; }
  fs::path folder_of(const std::string& job) const override { return options_.jobs / job; }
  fs::path data() const override { return options_.data; }
  api::Prepared prepare(const api::Submission& submission, const policy::Policy& policy) const override;
  api::PreparedPolicy prepare_policy(const api::Submission::Text& text) const override;
  void stop() override { end(std::nullopt); }

  Result<std::monostate> wait();

 private:
  Inside(Options options, std::unique_ptr<cluster::Cluster> cluster)
      : options_(std::move(options)), cluster_(std::move(cluster)) {}

  Result<policy::Policy> first_policy();
  Result<std::monostate> hold_down(policy::Policy& policy) const;
  void start_strand(policy::Policy policy);
  Result<std::monostate> serve();
  Result<std::monostate> write_endpoint(const std::string& fingerprint);

  void act(const control::Action& action);
  void act_on(const action::Submit& it);
  void act_on(const action::Cancel& it);
  void act_on(const action::LookSoon&) { cluster_desk_->look_soon(); }
  void act_on(const action::AskHistory& it);
  void act_on(const action::ReadDirectory& it);
  void act_on(const action::Plan&);
  void act_on(const action::Notify& it) { messenger_->notify(it.notice); }
  // Tokens follow from the state: a job that is over may lease no more, and one that is ended say nothing.
  void act_on(const action::Seal&) {}
  void act_on(const action::Answer&) {}

  bool has_jobs();
  void end(std::optional<std::string> failure);
  void say(const std::string& what) const {
    if (options_.log) options_.log(what);
  }
  /// Finds the job on the strand, and goes on with a copy of it there.
  void with_job(control::JobId id, std::function<void(const control::Job&)> go_on);

  Options options_;
  std::unique_ptr<cluster::Cluster> cluster_;
  Catalog catalog_;
  std::optional<policy::Policy> asked_policy_;  ///< of the command line
  std::string asked_policy_text_;
  policy::Ceilings ceilings_;
  api::DaemonView view_;

  std::mutex end_mutex_;
  std::condition_variable ended_;
  bool stopping_ = false;
  std::optional<std::string> failure_;

  // The server ends first, so that nobody asks any more; then the strand, which still says what it committed.
  std::unique_ptr<store::Store> store_;
  std::optional<api::Gate> gate_;
  std::optional<api::EventFeed> feed_;
  std::optional<http::Router> router_;
  std::unique_ptr<Strand> strand_;
  std::unique_ptr<ClusterDesk> cluster_desk_;
  const std::function<void(const std::string&)> told_ = [this](const std::string& what) { say(what); };
  Errands answers_{told_}, planning_{told_}, files_{told_};
  Errands reports_{told_, 2};
  std::unique_ptr<Messenger> messenger_;
  std::unique_ptr<Housekeeper> housekeeper_;
  std::unique_ptr<MailRoom> mail_;
  std::unique_ptr<http::Server> server_;
};

// Its beginning and end.

Result<std::unique_ptr<Daemon::Inside>> Daemon::Inside::start(Options options,
                                                              std::unique_ptr<cluster::Cluster> cluster) {
  auto inside = std::unique_ptr<Inside>(new Inside(std::move(options), std::move(cluster)));
  Options& with = inside->options_;
  auto store = store::Store::open(with.database, {});
  if (!store) return store.error();
  inside->store_ = *std::move(store);
  auto gate = api::Gate::open(with.state, with.groups);
  if (!gate) return gate.error();
  inside->gate_.emplace(*std::move(gate));
  Diagnostics diagnostics;
  inside->catalog_ = inputs::load_catalog(with.sources, diagnostics);
  if (!diagnostics.ok()) {
    std::ostringstream problems;
    diagnostics.print(problems);
    return Error{"the catalog has problems:\n" + problems.str()};
  }
  if (const auto targets = notify::load_targets(with.state); !targets) return targets.error();
  auto ceilings = load_ceilings(with.ceilings);
  if (!ceilings) return ceilings.error();
  inside->ceilings_ = *std::move(ceilings);
  auto policy = inside->first_policy();
  if (!policy) return policy.error();
  with.around.endpoint = fs::absolute(with.state / "endpoint.json");
  inside->view_ = {"up",
                   std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()),
                   with.version,
                   host_name(),
                   inside->store_->instance(),
                   inside->cluster_->describe(),
                   policy->name};
  inside->start_strand(*std::move(policy));
  if (auto served = inside->serve(); !served) return served.error();
  return inside;
}

Result<std::monostate> Daemon::Inside::hold_down(policy::Policy& policy) const {
  const auto lowered = policy::hold_down(policy, ceilings_);
  if (!lowered) return lowered.error();
  if (!lowered->empty()) say("the site's ceilings lower " + join(*lowered, ", ") + " of the policy " + policy.name);
  return std::monostate{};
}

/// The one that was set last. One of the command line is set anew once the strand runs, so that the journal says what
/// it changes; with none before it, it is the first itself.
Result<policy::Policy> Daemon::Inside::first_policy() {
  Diagnostics diagnostics;
  const auto problems = [&] {
    std::ostringstream text;
    diagnostics.print(text);
    return text.str();
  };
  const auto kept = store_->policy_text();
  std::optional<policy::Policy> last;
  if (kept) {
    Diagnostics of_kept;
    const auto root = parse_yaml(*kept, "the policy that was set last", of_kept);
    last = root ? policy::read_policy(*root, "the policy that was set last", of_kept) : std::nullopt;
    if (!last && options_.policy.empty()) {
      std::ostringstream text;
      of_kept.print(text);
      return Error{text.str() + "give another one with --policy"};
    }
  }
  if (last && options_.policy.empty()) {
    if (const auto held = hold_down(*last); !held) return held.error();
    return *std::move(last);
  }
  const auto path = inputs::find_policy(options_.sources, options_.policy, diagnostics);
  if (!path) return Error{problems()};
  const auto text = read_file(*path, 1 << 20, diagnostics);
  const auto root = text ? parse_yaml(*text, path->string(), diagnostics) : std::nullopt;
  auto policy = root ? policy::read_policy(*root, path->string(), diagnostics) : std::nullopt;
  if (!policy) return Error{"the policy has problems:\n" + problems()};
  if (const auto held = hold_down(*policy); !held) return held.error();
  if (kept != *text) {
    asked_policy_ = *policy;
    asked_policy_text_ = *text;
  }
  return last && policy::hold_down(*last, ceilings_) ? *std::move(last) : *std::move(policy);
}

void Daemon::Inside::start_strand(policy::Policy policy) {
  Strand::Options options;
  options.act = [this](const control::Action& action) { act(action); };
  options.committed = [this] {
    if (feed_) feed_->wake();
  };
  options.failed = [this](const std::string& why) { end("the store cannot be written: " + why); };
  options.answers = [this](std::function<void()> answer) { answers_.put(std::move(answer)); };
  feed_.emplace(*this);

  ClusterDesk::Options desk;
  desk.prefix = "orch-" + store_->instance() + "-";
  desk.look = options_.look;
  desk.happened = [this](control::Event event) { strand_->put(std::move(event)); };
  desk.now = [this] { return strand_->now(); };
  desk.prepare = [this](const control::Job& job) {
    return make_job_folder(folder_of(job.name), job, catalog_, gate_->token_of_job(job.name), options_.around);
  };
  desk.has_jobs = [this] { return has_jobs(); };

  // Both before either does anything: the first actions and the first look follow at once.
  std::promise<void> ready;
  const auto both = ready.get_future().share();
  options.act = [this, both](const control::Action& action) {
    both.wait();
    act(action);
  };
  desk.has_jobs = [this, both] {
    both.wait();
    return has_jobs();
  };
  strand_ = std::make_unique<Strand>(store_->restore(std::move(policy), options_.rules), *store_, std::move(options));
  cluster_desk_ = std::make_unique<ClusterDesk>(*cluster_, std::move(desk));
  messenger_ = std::make_unique<Messenger>(Messenger::Options{
      options_.state, view_.host,
      [this](control::Event event, Answered answered) { strand_->put(std::move(event), std::move(answered)); },
      [this](control::Event event) { strand_->put(std::move(event)); }, told_});
  housekeeper_ = std::make_unique<Housekeeper>(Housekeeper::Options{
      options_.tidy_every, options_.jobs,
      [this](std::function<void(const control::State&, control::Now)> read) { strand_->look(std::move(read)); },
      told_});
  ready.set_value();
  if (asked_policy_) strand_->put(event::SetPolicy{{}, *asked_policy_, asked_policy_text_, "orchd"});
}

Result<std::monostate> Daemon::Inside::serve() {
  router_.emplace(api::make_router(*this, *gate_, *feed_));
  http::ServerOptions options;
  options.unix_socket = http::UnixListen{options_.database / "orchd.sock", options_.socket_mode};
  std::string fingerprint;
  if (!options_.listen.empty()) {
    auto tls = tls_of(options_);
    if (!tls) return tls.error();
    const auto print = http::fingerprint(tls->certificate.certificate_pem);
    if (!print) return print.error();
    fingerprint = to_hex(*print);
    options.tls = *std::move(tls);
  }
  options.log = [this](const std::string& what) { say(what); };
  auto server = http::Server::start(std::move(options), [this](http::Request request, http::Responder responder) {
    router_->route(std::move(request), std::move(responder));
  });
  if (!server) return server.error();
  server_ = *std::move(server);
  if (options_.around.link == "files") mail_ = std::make_unique<MailRoom>(*this);
  if (options_.serving) options_.serving();
  return write_endpoint(fingerprint);
}

Result<std::monostate> Daemon::Inside::write_endpoint(const std::string& fingerprint) {
  wire::Endpoint endpoint;
  endpoint.version = options_.version;
  endpoint.instance = store_->instance();
  endpoint.host = view_.host;
  endpoint.pid = ::getpid();
  endpoint.socket = fs::absolute(options_.database / "orchd.sock").string();
  if (!fingerprint.empty()) {
    endpoint.addresses = options_.addresses;
    if (endpoint.addresses.empty()) endpoint.addresses.push_back(view_.host);
    endpoint.port = server_->tls_port();
    endpoint.certificate = fingerprint;
  }
  // There is no secret in it; who may go into the state directory may know where the daemon is.
  return write_whole(options_.around.endpoint, wire::write(endpoint), 0644);
}

Daemon::Inside::~Inside() {
  // First what takes its time to end, while workers are still answered.
  if (housekeeper_) housekeeper_->stop();
  if (messenger_) messenger_->stop();
  server_.reset();
  mail_.reset();
  if (!strand_) return;
  strand_->stop();
  cluster_desk_.reset();
  for (auto* errands : {&answers_, &planning_, &files_, &reports_}) errands->stop();
}

Result<std::monostate> Daemon::Inside::wait() {
  std::unique_lock lock(end_mutex_);
  ended_.wait(lock, [this] { return stopping_; });
  if (failure_) return Error{*failure_};
  return std::monostate{};
}

void Daemon::Inside::end(std::optional<std::string> failure) {
  const std::lock_guard lock(end_mutex_);
  stopping_ = true;
  if (failure && !failure_) failure_ = std::move(failure);
  ended_.notify_all();
}

// What leaves after its commit.

void Daemon::Inside::act(const control::Action& action) {
  std::visit([this](const auto& it) { act_on(it); }, action);
}

void Daemon::Inside::with_job(control::JobId id, std::function<void(const control::Job&)> go_on) {
  strand_->look([id, go_on = std::move(go_on)](const control::State& state, control::Now) {
    if (const auto job = state.jobs.find(id); job != state.jobs.end()) go_on(job->second);
  });
}

void Daemon::Inside::act_on(const action::Submit& it) {
  with_job(it.job, [this](const control::Job& job) {
    if (!job.is_over()) cluster_desk_->submit(job);
  });
}

void Daemon::Inside::act_on(const action::Cancel& it) {
  with_job(it.job, [this](const control::Job& job) { cluster_desk_->cancel(job.name, job.cluster_id); });
}

void Daemon::Inside::act_on(const action::AskHistory& it) {
  strand_->look([this, ids = it.jobs](const control::State& state, control::Now) {
    std::vector<std::string> names;
    for (const control::JobId id : ids)
      if (const auto job = state.jobs.find(id); job != state.jobs.end()) names.push_back(job->second.name);
    if (!names.empty()) cluster_desk_->ask_history(std::move(names));
  });
}

void Daemon::Inside::act_on(const action::ReadDirectory& it) {
  with_job(it.job, [this](const control::Job& job) {
    files_.put([this, id = job.id, name = job.name, epoch = job.epoch] {
      Left left = read_job_folder(folder_of(name));
      for (const std::string& problem : left.problems) say(problem);
      if (!left.items.empty())
        strand_->put(
            api::delivery_of(name, {static_cast<std::uint32_t>(control::index(epoch)), std::move(left.items)}));
      std::optional<event::ExitRecord> last_words;
      if (left.exit) last_words = api::exit_of(name, *left.exit);
      strand_->put(event::DirectoryRead{id, std::move(last_words), left.started});
    });
  });
}

void Daemon::Inside::act_on(const action::Plan&) {
  strand_->look_closely([this](control::State& state, control::Now now) {
    planning_.put([this, taken = control::snapshot(state, now)] {
      // A plan that fails must not keep the next from being asked for.
      event::Planned planned{taken.version, {}};
      try {
        planned = control::plan_jobs(taken);
      } catch (const std::exception& error) {
        say(std::string("no plan could be made: ") + error.what());
      }
      strand_->put(std::move(planned));
    });
  });
}

bool Daemon::Inside::has_jobs() {
  return api::ask<bool>(*this,
                        [](const control::State& state, control::Now) {
                          return std::ranges::any_of(state.jobs, [](const auto& job) { return !job.second.is_over(); });
                        })
      .value_or(false);
}

// Matrices and policies.

api::Prepared Daemon::Inside::prepare(const api::Submission& submission, const policy::Policy& policy) const {
  api::Prepared prepared;
  inputs::Planned planned;
  planned.catalog = catalog_;
  planned.cluster = options_.site.cluster;
  planned.policy = policy;
  planned.shipped = options_.sources.data;
  planned.data = options_.data;
  planned.digests = options_.state / "weights.json";
  for (const api::Submission::Text& catalog : submission.catalogs)
    if (const auto root = parse_yaml(catalog.text, catalog.file, prepared.problems))
      read_catalog_file(planned.catalog, *root, catalog.file, prepared.problems);
  if (!submission.catalogs.empty() && prepared.problems.ok()) finish_catalog(planned.catalog, prepared.problems);
  if (!prepared.problems.ok()) return prepared;
  const auto root = parse_yaml(submission.matrix.text, submission.matrix.file, prepared.problems);
  if (!root || !inputs::plan_matrix(planned, *root, submission.matrix.file, prepared.problems)) return prepared;
  if (!submission.name.empty() && !is_name(submission.name)) {
    prepared.problems.error({submission.matrix.file},
                            "the name of a sweep has letters, digits and _ . - : / +, and at most 200 of them; found " +
                                quote(submission.name));
    return prepared;
  }
  if (reads_as_id(submission.name)) {
    prepared.problems.error({submission.matrix.file},
                            "the name " + quote(submission.name) +
                                " would be taken for the number of a sweep, a job or a cell; give one that is none");
    return prepared;
  }
  control::Asking asking;
  asking.name = submission.name;
  asking.user = submission.user;
  asking.request_key = submission.request_key;
  asking.matrix = submission.matrix.text;
  asking.fresh = submission.fresh;
  auto asked = control::ask_for(planned.plan, planned.expansion, *planned.site, std::move(asking));
  if (!asked) {
    prepared.problems.error({submission.matrix.file}, asked.error().what);
    return prepared;
  }
  if (asked->sweep.cells.empty()) {
    prepared.problems.error({submission.matrix.file}, "no cell of this matrix can run here");
    for (const matrix::Rejection& row : asked->rejected)
      prepared.problems.error({submission.matrix.file}, counted(row.count, "cell") + " of " + shown(row.model) + " / " +
                                                            shown(row.task) + " rejected (" + row.rule +
                                                            "): " + row.reason);
    return prepared;
  }
  prepared.notes = inputs::missing_weights(planned, cache::usual_root());
  prepared.notes.insert(prepared.notes.end(), planned.plan.notes.begin(), planned.plan.notes.end());
  prepared.sweep = std::move(asked->sweep);
  return prepared;
}

api::PreparedPolicy Daemon::Inside::prepare_policy(const api::Submission::Text& text) const {
  api::PreparedPolicy prepared;
  if (const auto root = parse_yaml(text.text, text.file, prepared.problems))
    prepared.policy = policy::read_policy(*root, text.file, prepared.problems);
  if (!prepared.policy) return prepared;
  auto lowered = policy::hold_down(*prepared.policy, ceilings_);
  if (lowered) {
    prepared.lowered = *std::move(lowered);
  } else {
    prepared.problems.error({text.file}, lowered.error().what);
    prepared.policy.reset();
  }
  return prepared;
}

// The face.

Daemon::Daemon(std::unique_ptr<Inside> inside) : inside_(std::move(inside)) {}
Daemon::~Daemon() = default;

Result<std::unique_ptr<Daemon>> Daemon::start(Options options, std::unique_ptr<cluster::Cluster> cluster) {
  try {
    auto inside = Inside::start(std::move(options), std::move(cluster));
    if (!inside) return inside.error();
    return std::unique_ptr<Daemon>(new Daemon(*std::move(inside)));
  } catch (const store::Failure& failure) {
    return Error{std::string(failure.what()) + "; docs/operations.md says how to bring a backup back"};
  }
}

Result<std::monostate> Daemon::wait() { return inside_->wait(); }
void Daemon::stop() { inside_->stop(); }

}  // namespace orch::orchd
