// Which handler a request belongs to: by its method and the pattern that its path matches.
//
// Holds:
//  - A path is cut into segments before it is decoded: an encoded slash never makes another segment.
//  - A literal segment goes before a {name}, whatever the order in which they were added.
//  - HEAD is answered by GET's handler; OPTIONS and a method that a path does not have are answered with Allow.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "http/server.h"

namespace orch::http {

class Router {
 public:
  /// `pattern`: `/v1/sweeps/{id}/cells`. A {name} matches one segment that is not empty. Throws std::logic_error for a
  /// pattern that is not sound or is there already for the method.
  void add(std::string_view method, std::string_view pattern, Handler handler);

  /// Finds the handler and calls it with the request's parts filled in, or answers the error. The router is not
  /// changed while a server uses it.
  void route(Request request, Responder responder) const;

 private:
  struct Segment {
    std::string text;  ///< the literal, or the name
    bool captures = false;
  };
  struct Entry {
    std::string method;
    Handler handler;
  };
  struct Route {
    std::string pattern;
    std::vector<Segment> segments;
    std::vector<Entry> entries;
  };
  const Route* find(const std::vector<std::string>& segments) const;
  std::string allowed(const Route* route) const;

  std::vector<Route> routes_;
};

}  // namespace orch::http
