#include "http/router.h"

#include <algorithm>
#include <set>
#include <stdexcept>
#include <utility>

#include "base/text.h"

namespace orch::http {
namespace {

/// Longer paths are no slip of the pen, and looking for the nearest takes time that grows with the length.
constexpr std::size_t kMostForHint = 200;

/// What stands between the slashes, decoded; `path` begins with one.
std::vector<std::string> segments_of(std::string_view path) {
  std::vector<std::string> segments;
  for (const std::string_view segment : split(path.substr(1), '/'))
    segments.push_back(percent_decode(segment).value_or(""));
  return segments;
}

}  // namespace

void Router::add(std::string_view method, std::string_view pattern, Handler handler) {
  if (!pattern.starts_with('/')) throw std::logic_error("the pattern " + quote(pattern) + " does not begin with /");
  std::vector<Segment> segments;
  std::set<std::string> names;
  for (const std::string_view text : split(pattern.substr(1), '/')) {
    const bool captures = text.starts_with('{') && text.ends_with('}') && text.size() > 2;
    const std::string_view inner = captures ? text.substr(1, text.size() - 2) : text;
    if (inner.find_first_of("{}%?#") != std::string_view::npos ||
        (captures && !names.insert(std::string(inner)).second))
      throw std::logic_error("the pattern " + quote(pattern) + " is not sound at " + quote(text));
    segments.push_back({std::string(inner), captures});
  }
  const auto same_shape = [&](const Route& route) {
    return std::equal(segments.begin(), segments.end(), route.segments.begin(), route.segments.end(),
                      [](const Segment& a, const Segment& b) {
                        return a.captures == b.captures && (a.captures || a.text == b.text);
                      });
  };
  auto at = std::find_if(routes_.begin(), routes_.end(), same_shape);
  if (at == routes_.end()) {
    routes_.push_back({std::string(pattern), std::move(segments), {}});
    at = routes_.end() - 1;
  }
  const bool taken =
      std::any_of(at->entries.begin(), at->entries.end(), [&](const Entry& entry) { return entry.method == method; });
  if (taken || at->pattern != pattern)
    throw std::logic_error(std::string(method) + " " + quote(pattern) + " is there already, as " + quote(at->pattern));
  at->entries.push_back({std::string(method), std::move(handler)});
}

const Router::Route* Router::find(const std::vector<std::string>& segments) const {
  const Route* best = nullptr;
  for (const Route& route : routes_) {
    const bool matches = std::equal(segments.begin(), segments.end(), route.segments.begin(), route.segments.end(),
                                    [](const std::string& text, const Segment& segment) {
                                      return segment.captures ? !text.empty() : text == segment.text;
                                    });
    if (!matches) continue;
    const auto is_before = [](const Segment& a, const Segment& b) { return !a.captures && b.captures; };
    if (!best || std::lexicographical_compare(route.segments.begin(), route.segments.end(), best->segments.begin(),
                                              best->segments.end(), is_before))
      best = &route;
  }
  return best;
}

std::string Router::allowed(const Route* route) const {
  std::set<std::string> methods = {"OPTIONS"};
  const auto add_all = [&](const Route& one) {
    for (const Entry& entry : one.entries) methods.insert(entry.method);
  };
  if (route)
    add_all(*route);
  else
    for (const Route& one : routes_) add_all(one);
  if (methods.contains("GET")) methods.insert("HEAD");
  return join(std::vector<std::string>(methods.begin(), methods.end()), ", ");
}

void Router::route(Request request, Responder responder) const {
  const bool about_server = request.path == "*";
  std::vector<std::string> segments;
  if (!about_server) segments = segments_of(request.path);
  const Route* found = about_server ? nullptr : find(segments);
  if (!found && !(about_server && request.method == "OPTIONS")) {
    std::vector<std::string> patterns;
    for (const Route& route : routes_) patterns.push_back(route.pattern);
    responder.send(error_response(404, "there is nothing at " + quote(request.path) +
                                           (request.path.size() <= kMostForHint ? hint(request.path, patterns) : "")));
    return;
  }
  const auto entry_for = [&](std::string_view method) -> const Entry* {
    if (!found) return nullptr;
    const auto at = std::find_if(found->entries.begin(), found->entries.end(),
                                 [&](const Entry& entry) { return entry.method == method; });
    return at == found->entries.end() ? nullptr : &*at;
  };
  const Entry* entry = entry_for(request.method);
  if (!entry && request.method == "HEAD") entry = entry_for("GET");
  if (!entry && request.method == "OPTIONS") {
    Response answer;
    answer.status = 204;
    answer.headers.emplace_back("Allow", allowed(found));
    responder.send(std::move(answer));
    return;
  }
  if (!entry) {
    Response answer = error_response(
        405, quote(request.path) + " does not take " + quote(request.method) + ", only " + allowed(found));
    answer.headers.emplace_back("Allow", allowed(found));
    responder.send(std::move(answer));
    return;
  }
  for (std::size_t i = 0; i < segments.size(); ++i)
    if (found->segments[i].captures) request.parts.emplace_back(found->segments[i].text, std::move(segments[i]));
  entry->handler(std::move(request), std::move(responder));
}

}  // namespace orch::http
