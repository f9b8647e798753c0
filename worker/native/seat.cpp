#include "native/seat.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <new>
#include <utility>

#include "base/text.h"
#include "native/chunk.h"
#include "native/locate.h"
#include "native/training.h"

namespace orch::native {
namespace {

namespace fs = std::filesystem;
using worker::Outcome;

Outcome failed(const Trouble& trouble) {
  Outcome outcome;
  outcome.cause = trouble.cause;
  outcome.reason = trouble.reason;
  return outcome;
}

/// In which formats a cell is computed; an error names the one that cannot be.
struct AskedFormats {
  model::Formats of_model = DType::kFp32;
  DType cache = DType::kFp32;
};
Result<AskedFormats> formats_of(const wire::Ask& ask) {
  const auto compute = model::compute_format(ask.dtype);
  if (!compute) return Error{"the native engine computes in fp32, bf16 and fp16, not in " + quote(ask.dtype)};
  const auto weights =
      ask.weights.empty() || ask.weights == ask.dtype ? compute : model::smaller_weight_format(ask.weights);
  if (!weights)
    return Error{"the native engine keeps weights as it computes, or in int8, not in " + quote(ask.weights)};
  const auto cache = model::cache_format(ask.cache_dtype);
  if (!cache)
    return Error{"the native engine keeps its cache in fp32, bf16, fp16 and fp8, not in " + quote(ask.cache_dtype)};
  return AskedFormats{{*compute, *weights}, *cache};
}

bool is_training(const wire::Ask& ask) { return !ask.rows.empty(); }

/// What a training made that is evaluated: an adapter, or a model of its own.
struct TrainedBefore {
  fs::path adapter;
  std::optional<fs::path> model;
  std::string problem;
};
TrainedBefore trained_before(const Order& order) {
  TrainedBefore it;
  const std::string& named = order.leased.ask->adapter;
  if (named.empty()) return it;
  const auto folder = below_jobs(order, named);
  std::error_code ignored;
  if (folder && fs::is_directory(*folder / "adapter", ignored))
    it.adapter = *folder / "adapter";
  else if (folder && fs::is_directory(*folder / "model", ignored))
    it.model = *folder / "model";
  else
    it.problem = "the training's folder " + shown(named) + " has neither an adapter nor a model in it";
  return it;
}

}  // namespace

Seat::Seat(SeatRules rules)
    : rules_(std::move(rules)), spoke_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), thread_([this] { compute(); }) {}

Seat::~Seat() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
  ::close(spoke_);
}

bool Seat::idle() const {
  const std::lock_guard lock(mutex_);
  return !current_ && orders_.empty();
}

void Seat::say(const Report& report) {
  {
    const std::lock_guard lock(mutex_);
    said_.push_back(write(report));
  }
  const std::uint64_t one = 1;
  static_cast<void>(::write(spoke_, &one, sizeof one));
}

bool Seat::serve(comm::Lifeline line) {
  while (true) {
    pollfd watched[] = {{line.descriptor(), POLLIN, 0}, {spoke_, POLLIN, 0}};
    ::poll(watched, 2, -1);
    std::uint64_t ignored = 0;
    static_cast<void>(::read(spoke_, &ignored, sizeof ignored));
    std::deque<std::string> said;
    {
      const std::lock_guard lock(mutex_);
      said.swap(said_);
    }
    for (const std::string& each : said) line.send(each);
    while (const auto text = line.take()) {
      auto command = read_command(*text);
      if (!command || std::holds_alternative<End>(*command)) return command.ok();
      const std::lock_guard lock(mutex_);
      if (auto* order = std::get_if<Order>(&*command)) {
        orders_.push_back(std::move(*order));
      } else {
        const std::uint64_t ticket = std::get<Stop>(*command).ticket;
        if (current_ == ticket) stopping_ = true;
        // One that has not begun is carried out all the same, by all ranks of its group, and stops at once.
        for (Order& waiting : orders_)
          if (waiting.leased.ticket == ticket) waiting.leased.time_limit = 0;
      }
      wake_.notify_all();
    }
    if (line.gone()) return false;
  }
}

void Seat::compute() {
  while (true) {
    Order order;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return ending_ || !orders_.empty(); });
      if (ending_) return;
      order = std::move(orders_.front());
      orders_.pop_front();
      current_ = order.leased.ticket;
      stopping_ = order.leased.time_limit <= 0;
    }
    carry_out(order);
    {
      const std::lock_guard lock(mutex_);
      current_.reset();
    }
  }
}

void Seat::carry_out(const Order& order) {
  bool whole = true;
  Outcome outcome;
  try {
    outcome = evaluate(order, whole);
  } catch (const std::bad_alloc&) {
    outcome = failed({"host_memory", "rank " + std::to_string(rules_.rank) + " has no memory left"});
    whole = false;
  }
  if (!whole) group_ = {};
  if (order.ranks.front() == rules_.rank) say(Over{order.leased.ticket, outcome});
  say(Free{order.leased.ticket, whole});
}

Outcome Seat::evaluate(const Order& order, bool& whole) {
  const wire::Ask& ask = *order.leased.ask;
  const bool speaks = order.ranks.front() == rules_.rank;
  whole = false;
  if (order.anew) {
    group_ = {};
    auto made = rules_.make_group(order.ranks, order.leased.ticket);
    if (!made) return failed({"lost_peer", made.error().what});
    group_.ranks = *std::move(made);
  }
  comm::Transport& ranks = *group_.ranks;

  const auto trained = trained_before(order);
  const auto folder = trained.model ? Result<fs::path>(*trained.model) : locate_model(ask.model, ask.revision);
  const auto formats = formats_of(ask);
  std::unique_ptr<Chunk> chunk;
  Trouble trouble;
  Result<bool> ready = true;
  if (!folder) {
    trouble = {"load_failed", folder.error().what};
  } else if (!formats) {
    trouble = {"bad_input", formats.error().what};
  } else if (!trained.problem.empty()) {
    trouble = {"load_failed", trained.problem};
  } else if (const int wanted = ask.tensor * ask.pipeline * std::max(ask.copies, 1);
             wanted != static_cast<int>(order.ranks.size())) {
    trouble = {"load_failed", "the cell is cut over " + counted(wanted, "rank") + ", and its slot has " +
                                  std::to_string(order.ranks.size())};
  } else if (speaks && !is_training(ask)) {
    auto opened = Chunk::open(order, *folder, rules_.program, last_);
    if (opened)
      chunk = *std::move(opened);
    else
      trouble = opened.error();
  }
  if (!trouble.cause.empty()) ready = Error{trouble.reason};
  if (auto agreed = comm::agree(ranks, ready); !agreed) {
    whole = group_.model != nullptr;
    return failed({trouble.cause.empty() ? "load_failed" : trouble.cause, agreed.error().what});
  }

  const std::uint64_t ticket = order.leased.ticket;
  if (is_training(ask)) {
    bool loaded = false;
    Outcome outcome = train(order, {*folder, formats->of_model, rules_.threads, rules_.memory}, ranks, stopping_,
                            [&](std::int64_t done, std::int64_t all, const std::string& line) {
                              if (!std::exchange(loaded, true)) say(Loaded{ticket});
                              say(Progress{ticket, done, all, line});
                            });
    whole = false;  // of the model as others want it nothing is left in memory
    return outcome;
  }
  if (!group_.model) {
    texts::OpenRules rules;
    rules.tensor = ask.tensor;
    rules.pipeline = ask.pipeline;
    rules.threads = rules_.threads;
    rules.memory = rules_.memory;
    rules.formats = formats->of_model;
    rules.cache_dtype = formats->cache;
    rules.context = ask.context;
    rules.smaller = order.leased.smaller_batch;
    auto model = texts::OpenedModel::open(rules, *folder, ranks);
    if (!model) return failed({"load_failed", model.error().what});
    group_.model = *std::move(model);
  }
  if (auto used = group_.model->use(trained.adapter); !used) return failed({"load_failed", used.error().what});
  texts::TextEngine& engine = group_.model->texts();
  if (!speaks) {
    whole = engine.follow().ok();
    return {};
  }
  say(Loaded{ticket});
  Outcome outcome = chunk->run(engine, stopping_, [&](std::int64_t done, std::int64_t all) {
    say(Progress{ticket, done, all});
  });
  whole = engine.finish().ok();
  if (!whole && outcome.what != Outcome::What::kDone) outcome.cause = "lost_peer";
  return outcome;
}

}  // namespace orch::native
