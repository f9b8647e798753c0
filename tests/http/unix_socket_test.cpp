#include "http/unix_socket.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <fstream>
#include <thread>

#include "daemon.h"

namespace orch::http {
namespace {

using testing::HasSubstr;

mode_t mode_of(const std::filesystem::path& file) {
  struct stat status {};
  return ::lstat(file.c_str(), &status) == 0 ? status.st_mode & 07777 : 0;
}

Result<std::unique_ptr<Server>> serve(const std::filesystem::path& path, unsigned mode = 0600) {
  ServerOptions options;
  options.unix_socket = UnixListen{path, mode};
  return Server::start(std::move(options), [](const Request&, const Responder& out) { out.send(test::text("ok")); });
}

std::string why_not(const std::filesystem::path& path) {
  const auto server = serve(path);
  return server ? "it was started" : server.error().what;
}

TEST(UnixSocket, HasTheModeThatWasAskedFor) {
  const test::TempFolder folder;
  const auto narrow = serve(folder / "narrow"), wide = serve(folder / "wide", 0660);
  ASSERT_TRUE(narrow && wide);
  EXPECT_EQ(mode_of(folder / "narrow"), 0600u);
  EXPECT_EQ(mode_of(folder / "wide"), 0660u);
}

// A thread looks at the file all the while; with a bind before the chmod it would see 0755 now and then.
TEST(UnixSocket, NeverHasAWiderMode) {
  const test::TempFolder folder;
  const mode_t before = ::umask(0);
  std::atomic<bool> done{false};
  mode_t seen = 0;
  std::thread watch([&] {
    while (!done) seen |= mode_of(folder / "socket");
  });
  for (int i = 0; i < 200; ++i) {
    const auto socket = listen_unix(folder / "socket", 0600);
    ASSERT_TRUE(socket) << socket.error().what;
    ::close(socket->fd);
    remove_name(*socket);
  }
  done = true;
  watch.join();
  ::umask(before);
  EXPECT_EQ(seen & ~mode_t{0600}, 0u) << std::oct << seen;
}

TEST(UnixSocket, OfADeadProcessIsReplaced) {
  const test::TempFolder folder;
  const auto left = listen_unix(folder / "socket", 0600);
  ASSERT_TRUE(left);
  ::close(left->fd);  // as a process that is killed does: the name stays
  const auto server = serve(folder / "socket");
  ASSERT_TRUE(server) << server.error().what;
  EXPECT_EQ(Client(UnixEndpoint{folder / "socket"}).get("/")->body, "ok");
}

TEST(UnixSocket, OfALiveProcessIsLeftToIt) {
  const test::TempFolder folder;
  const auto first = serve(folder / "socket");
  ASSERT_TRUE(first);
  EXPECT_THAT(why_not(folder / "socket"), HasSubstr("another process listens there"));
  EXPECT_EQ(Client(UnixEndpoint{folder / "socket"}).get("/")->body, "ok");
}

TEST(UnixSocket, OfAProcessTooBusyToAcceptIsLeftToIt) {
  const test::TempFolder folder;
  const auto busy = listen_unix(folder / "socket", 0600);
  ASSERT_TRUE(busy);
  ::listen(busy->fd, 0);
  const test::Raw fills(folder / "socket");
  EXPECT_THAT(why_not(folder / "socket"), HasSubstr("another process listens there"));
  ::close(busy->fd);
}

TEST(UnixSocket, NeverReplacesAFile) {
  const test::TempFolder folder;
  std::ofstream(folder / "file") << "precious";
  EXPECT_THAT(why_not(folder / "file"), HasSubstr("something else than a socket is there"));
  std::string text;
  std::ifstream(folder / "file") >> text;
  EXPECT_EQ(text, "precious");
}

TEST(UnixSocket, NeedsAPathThatTheSystemTakes) {
  const test::TempFolder folder;
  EXPECT_THAT(why_not(folder / std::string(120, 'x')), HasSubstr("the system takes 1 to 107"));
  EXPECT_THAT(why_not(folder / "no/socket"), HasSubstr("its folder could not be opened: No such file"));
}

TEST(UnixSocket, IsGoneWithItsServer) {
  const test::TempFolder folder;
  ASSERT_TRUE(serve(folder / "socket"));
  EXPECT_FALSE(std::filesystem::exists(folder / "socket"));
}

TEST(UnixSocket, OfAnotherIsNotRemovedAtTheEnd) {
  const test::TempFolder folder;
  auto first = serve(folder / "socket");
  ASSERT_TRUE(first);
  // Kept under another name, so that the second cannot get the first one's inode.
  std::filesystem::rename(folder / "socket", folder / "moved");
  const auto second = serve(folder / "socket");
  ASSERT_TRUE(second);
  (*first).reset();
  EXPECT_EQ(Client(UnixEndpoint{folder / "socket"}).get("/")->body, "ok");
}

TEST(UnixSocket, IsTakenByOneOfTwoThatStartAtOnce) {
  const test::TempFolder folder;
  const auto left = listen_unix(folder / "socket", 0600);
  ASSERT_TRUE(left);
  ::close(left->fd);
  std::atomic<int> started{0};
  std::vector<std::thread> threads;
  std::vector<std::unique_ptr<Server>> servers(8);
  for (auto& server : servers)
    threads.emplace_back([&] {
      auto made = serve(folder / "socket");
      if (!made) return;
      ++started;
      server = std::move(*made);
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(started, 1);
  EXPECT_EQ(Client(UnixEndpoint{folder / "socket"}).get("/")->body, "ok");
}

}  // namespace
}  // namespace orch::http
