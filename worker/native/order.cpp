#include "native/order.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace orch::native {
namespace {

using nlohmann::json;
using worker::Outcome;

json json_of(const Outcome& it) {
  return {static_cast<int>(it.what), it.metrics, it.figures, it.cause, it.reason, it.seconds};
}

Outcome outcome_of(const json& it) {
  Outcome outcome;
  outcome.what = static_cast<Outcome::What>(it.at(0).get<int>());
  outcome.metrics = it.at(1);
  outcome.figures = it.at(2);
  outcome.cause = it.at(3);
  outcome.reason = it.at(4);
  outcome.seconds = it.at(5);
  return outcome;
}

std::string text_of(const json& message) { return message.dump(-1, ' ', false, json::error_handler_t::replace); }

template <class Message>
Result<Message> understood(std::string_view text, Message (*read)(const json&)) {
  try {
    return read(json::parse(text));
  } catch (const json::exception& exception) {
    return Error{std::string("a rank said what no other understands: ") + exception.what()};
  }
}

}  // namespace

std::optional<std::filesystem::path> below_jobs(const Order& order, const std::string& relative) {
  const std::filesystem::path path(relative);
  const bool is_below =
      !relative.empty() && path.is_relative() &&
      std::none_of(path.begin(), path.end(), [](const auto& part) { return part == ".." || part == "."; });
  return is_below ? std::optional(std::filesystem::path(order.jobs) / path) : std::nullopt;
}

std::vector<std::filesystem::path> earlier_attempts(const Order& order) {
  std::vector<std::filesystem::path> folders;
  for (const std::string& before : order.leased.ask->before)
    if (auto folder = below_jobs(order, before)) folders.push_back(*std::move(folder));
  return folders;
}

std::string opens(const wire::Ask& ask) {
  // A training keeps nothing for others. What loads another model, as one that was trained in full, says so.
  return text_of({ask.model, ask.revision, ask.tensor, ask.pipeline, ask.dtype, ask.weights, ask.cache_dtype,
                  ask.context, ask.loads, ask.rows});
}

std::string write(const Command& command) {
  if (const auto* order = std::get_if<Order>(&command))
    return text_of({{"do", {order->ranks, order->anew, order->folder, order->jobs, wire::write(order->leased)}}});
  if (const auto* stop = std::get_if<Stop>(&command)) return text_of({{"stop", stop->ticket}});
  return text_of({{"end", true}});
}

std::string write(const Report& report) {
  if (const auto* it = std::get_if<Loaded>(&report)) return text_of({{"loaded", it->ticket}});
  if (const auto* it = std::get_if<Progress>(&report))
    return text_of({{"progress", {it->ticket, it->done, it->all, it->live}}});
  if (const auto* it = std::get_if<Over>(&report)) return text_of({{"over", {it->ticket, json_of(it->outcome)}}});
  const Free& it = std::get<Free>(report);
  return text_of({{"free", {it.ticket, it.whole}}});
}

Result<Command> read_command(std::string_view text) {
  return understood<Command>(text, [](const json& it) -> Command {
    if (it.contains("stop")) return Stop{it["stop"]};
    if (!it.contains("do")) return End{};
    const json& said = it["do"];
    auto leased = wire::read<wire::Leased>(said.at(4).get<std::string>());
    // Our own first rank wrote it.
    return Order{said.at(0), said.at(1), said.at(2), said.at(3), leased ? *std::move(leased) : wire::Leased()};
  });
}

Result<Report> read_report(std::string_view text) {
  return understood<Report>(text, [](const json& it) -> Report {
    if (it.contains("loaded")) return Loaded{it["loaded"]};
    if (it.contains("progress")) {
      const json& said = it["progress"];
      return Progress{said.at(0), said.at(1), said.at(2), said.at(3)};
    }
    if (it.contains("over")) return Over{it["over"].at(0), outcome_of(it["over"].at(1))};
    return Free{it.at("free").at(0), it.at("free").at(1)};
  });
}

}  // namespace orch::native
