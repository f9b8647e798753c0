#include "base/wire/messages.h"

#include <cmath>
#include <concepts>
#include <limits>
#include <nlohmann/json.hpp>

namespace orch::wire {
namespace {

using nlohmann::json;

constexpr std::size_t kMostItems = 100'000;  // of a list
constexpr std::size_t kMostText = 1u << 20;  // bytes of a string

// One list of members for reading and writing: `visit(name, member)`; `visit.may(name, member)` of one that is left out
// where it is empty, so that a program of before it is understood.

template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Chunk> {
  visit("cell", m.cell);
  visit("chunk", m.number);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Claim> {
  visit("protocol", m.protocol);
  visit("cluster_id", m.cluster_id);
  visit("restarts", m.restarts);
  visit("copy", m.copy);
  visit("nodes", m.nodes);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Claimed> {
  visit("epoch", m.epoch);
  visit("lease_term", m.lease_term);
  visit("heartbeat", m.heartbeat);
  visit("idle_timeout", m.idle_timeout);
  visit("drain", m.drain);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, AskLease> {
  visit("epoch", m.epoch);
  visit("time_left", m.time_left);
  visit("most", m.most);
  visit("loaded", m.loaded);
  visit("held", m.held);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Ask> {
  visit("model", m.model);
  visit("revision", m.revision);
  visit("loads", m.loads);
  visit("tensor", m.tensor);
  visit("pipeline", m.pipeline);
  visit("dtype", m.dtype);
  visit("cache_dtype", m.cache_dtype);
  visit("weights", m.weights);
  visit("context", m.context);
  visit("data", m.data);
  visit("digest", m.digest);
  visit("chunks", m.chunks);
  visit("shots", m.shots);
  visit("limit", m.limit);
  visit("max_tokens", m.max_tokens);
  visit("temperature", m.temperature);
  visit("chat", m.chat);
  visit("prefix", m.prefix);
  visit("seed", m.seed);
  visit("before", m.before);
  visit("rows", m.rows);
  visit("settings", m.settings);
  visit("copies", m.copies);
  visit("reward", m.reward);
  visit("adapter", m.adapter);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Leased> {
  members(visit, m.chunk);
  visit("ticket", m.ticket);
  visit("generation", m.generation);
  visit("attempt", m.attempt);
  visit("time_limit", m.time_limit);
  visit("gpus", m.gpus);
  visit("cpus", m.cpus);
  visit("memory", m.memory);
  visit("smaller_batch", m.smaller_batch);
  visit("model", m.model);
  visit("task", m.task);
  visit("engine", m.engine);
  visit("run", m.run);
  visit("environment", m.environment);
  visit("folder", m.folder);
  visit("ask", m.ask);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Given> {
  visit("leased", m.leased);
  visit("drain", m.drain);
  visit("nothing_left", m.nothing_left);
  visit("retry_after", m.retry_after);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Heartbeat::Held> {
  members(visit, m.chunk);
  visit("running", m.running);
  visit("done", m.done);
  visit("all", m.all);
  visit.may("live", m.live);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Heartbeat> {
  visit("epoch", m.epoch);
  visit("held", m.held);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Beat> {
  visit("drop", m.drop);
  visit("drain", m.drain);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Delivered> {
  members(visit, m.chunk);
  visit("ticket", m.ticket);
  visit("generation", m.generation);
  visit("what", m.what);
  visit("metrics", m.metrics);
  visit("figures", m.figures);
  visit("cause", m.cause);
  visit("reason", m.reason);
  visit("seconds", m.seconds);
  visit("gpu_seconds", m.gpu_seconds);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Deliver> {
  visit("epoch", m.epoch);
  visit("items", m.items);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Acknowledged> {
  visit("accepted", m.accepted);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Exit> {
  visit("epoch", m.epoch);
  visit("end", m.end);
  visit("reason", m.reason);
}

template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, Endpoint> {
  visit("protocol", m.protocol);
  visit("version", m.version);
  visit("instance", m.instance);
  visit("host", m.host);
  visit("pid", m.pid);
  visit("socket", m.socket);
  visit("addresses", m.addresses);
  visit("port", m.port);
  visit("certificate", m.certificate);
}
template <class V>
void members(V&& visit, auto& m) requires std::same_as<std::remove_cvref_t<decltype(m)>, JobFile> {
  visit("protocol", m.protocol);
  visit("job", m.job);
  visit("endpoint", m.endpoint);
  visit("link", m.link);
  visit("time", m.time);
  visit("drain", m.drain);
  visit("nodes", m.nodes);
  visit("gpus", m.gpus);
  visit("cpus", m.cpus);
  visit("memory", m.memory);
}

class Writer {
 public:
  explicit Writer(json& out) : out_(out) {}
  template <class T>
  void operator()(const char* name, const T& value) {
    out_[name] = json_of(value);
  }
  void may(const char* name, const std::string& value) {
    if (!value.empty()) out_[name] = value;
  }

 private:
  template <class T>
  static json json_of(const T& value) {
    if constexpr (requires { value.has_value(); }) {
      return value ? json_of(*value) : json(nullptr);
    } else if constexpr (requires {
                           value.data();
                           value.size();
                         } &&
                         !std::same_as<T, std::string>) {
      json list = json::array();
      for (const auto& item : value) list.push_back(json_of(item));
      return list;
    } else if constexpr (std::is_class_v<T> && !std::same_as<T, std::string>) {
      json object = json::object();
      members(Writer(object), value);
      return object;
    } else {
      return value;
    }
  }
  json& out_;
};

class Reader {
 public:
  explicit Reader(const json& in, std::string path, std::string& problem)
      : in_(in), path_(std::move(path)), problem_(problem) {}

  template <class T>
  void operator()(const char* name, T& value) {
    ++known_;
    if (!problem_.empty()) return;
    const auto member = in_.find(name);
    if (member == in_.end()) return fail(name, "is missing");
    take(*member, path_ + name, value);
  }

  void may(const char* name, std::string& value) {
    if (in_.contains(name)) (*this)(name, value);
  }

  /// After all members: whether there is one that nobody asked for.
  void finish() {
    if (problem_.empty() && in_.size() != known_)
      problem_ =
          (path_.empty() ? "the message" : path_.substr(0, path_.size() - 1)) + " has a member that is not known";
  }

 private:
  void fail(const std::string& name, const std::string& what) { problem_ = path_ + name + " " + what; }

  template <class T>
  void take(const json& from, const std::string& name, T& value) {
    if constexpr (std::same_as<T, bool>) {
      if (!from.is_boolean()) return wrong(name, "true or false");
      value = from.get<bool>();
    } else if constexpr (std::same_as<T, std::string>) {
      if (!from.is_string()) return wrong(name, "a text");
      value = from.get<std::string>();
      if (value.size() > kMostText) wrong(name, "a text of at most 1 MiB");
    } else if constexpr (std::floating_point<T>) {
      if (!from.is_number()) return wrong(name, "a number");
      value = from.get<T>();
      if (!std::isfinite(value)) wrong(name, "a finite number");
    } else if constexpr (std::integral<T>) {
      take_whole(from, name, value);
    } else if constexpr (requires { value.has_value(); }) {
      value.reset();
      if (!from.is_null()) take(from, name, value.emplace());
    } else if constexpr (requires { value.emplace_back(); }) {
      if (!from.is_array()) return wrong(name, "a list");
      if (from.size() > kMostItems) return wrong(name, "a list of at most 100,000 items");
      value.clear();
      value.reserve(from.size());
      for (std::size_t i = 0; i < from.size() && problem_.empty(); ++i)
        take(from[i], name + "[" + std::to_string(i) + "]", value.emplace_back());
    } else {
      if (!from.is_object()) return wrong(name, "an object");
      Reader reader(from, name + ".", problem_);
      members(reader, value);
      reader.finish();
    }
  }

  template <class T>
  void take_whole(const json& from, const std::string& name, T& value) {
    const bool fits = from.is_number_unsigned()
                          ? from.get<std::uint64_t>() <= static_cast<std::uint64_t>(std::numeric_limits<T>::max())
                          : from.is_number_integer() && std::signed_integral<T> &&
                                from.get<std::int64_t>() >= static_cast<std::int64_t>(std::numeric_limits<T>::min()) &&
                                from.get<std::int64_t>() < 0;
    if (!fits) return wrong(name, "a whole number that fits");
    value = from.get<T>();
  }

  void wrong(const std::string& name, const std::string& expected) { problem_ = name + " must be " + expected; }

  const json& in_;
  std::string path_;
  std::string& problem_;
  std::size_t known_ = 0;
};

}  // namespace

template <class Message>
Result<Message> read(std::string_view text) {
  const json parsed = json::parse(text, nullptr, false);
  if (parsed.is_discarded()) return Error{"the message is not JSON"};
  if (!parsed.is_object()) return Error{"the message must be a JSON object"};
  std::string problem;
  Message message;
  Reader reader(parsed, "", problem);
  members(reader, message);
  reader.finish();
  if (!problem.empty()) return Error{problem};
  return message;
}

template <class Message>
std::string write(const Message& message) {
  json out = json::object();
  members(Writer(out), message);
  // What a program printed may be any bytes.
  return out.dump(-1, ' ', false, json::error_handler_t::replace);
}

template Result<Claim> read(std::string_view);
template Result<Claimed> read(std::string_view);
template Result<AskLease> read(std::string_view);
template Result<Given> read(std::string_view);
template Result<Leased> read(std::string_view);
template Result<Heartbeat> read(std::string_view);
template Result<Beat> read(std::string_view);
template Result<Deliver> read(std::string_view);
template Result<Acknowledged> read(std::string_view);
template Result<Exit> read(std::string_view);
template Result<Endpoint> read(std::string_view);
template Result<JobFile> read(std::string_view);
template std::string write(const Claim&);
template std::string write(const Claimed&);
template std::string write(const AskLease&);
template std::string write(const Given&);
template std::string write(const Leased&);
template std::string write(const Heartbeat&);
template std::string write(const Beat&);
template std::string write(const Deliver&);
template std::string write(const Acknowledged&);
template std::string write(const Exit&);
template std::string write(const Endpoint&);
template std::string write(const JobFile&);

}  // namespace orch::wire
