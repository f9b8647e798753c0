// Requests a second through the HTTP layer alone, client included: a small body there and back over a Unix socket that
// is kept. The count of threads is that of the clients.
#include <benchmark/benchmark.h>
#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "http/client.h"
#include "http/server.h"

namespace {

using namespace orch::http;

struct Daemon {
  Daemon() {
    std::string name = (std::filesystem::temp_directory_path() / "orch-bench-XXXXXX").string();
    if (!mkdtemp(name.data())) return;
    folder = name;
    ServerOptions options;
    options.unix_socket = UnixListen{folder / "socket"};
    auto started = Server::start(std::move(options), [](Request in, const Responder& out) {
      Response answer;
      answer.body = std::move(in.body);
      out.send(std::move(answer));
    });
    if (started) server = std::move(*started);
  }
  Daemon(const Daemon&) = delete;
  Daemon& operator=(const Daemon&) = delete;
  ~Daemon() {
    server.reset();
    std::error_code ignored;
    if (!folder.empty()) std::filesystem::remove_all(folder, ignored);
  }
  std::filesystem::path folder;
  std::unique_ptr<Server> server;
};

void echo(benchmark::State& state) {
  static const Daemon daemon;
  if (!daemon.server) {
    state.SkipWithError("the server did not start");
    return;
  }
  Client client(UnixEndpoint{daemon.folder / "socket"});
  const std::string body(static_cast<std::size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    const auto answer = client.post("/v1/echo", body);
    if (!answer || answer->body.size() != body.size()) {
      state.SkipWithError(answer ? "a wrong answer" : answer.error().what.c_str());
      break;
    }
  }
  state.SetItemsProcessed(state.iterations());
}

BENCHMARK(echo)->Name("Http")->ArgName("bytes")->Arg(128)->Threads(1)->Threads(8)->Threads(64)->UseRealTime();
BENCHMARK(echo)->Name("Http")->ArgName("bytes")->Arg(16 * 1024)->Threads(1)->Threads(8)->UseRealTime();

}  // namespace

BENCHMARK_MAIN();
