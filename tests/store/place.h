// A folder of its own for each test, and a way past the store to what lies there.
#pragma once

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "store/database.h"
#include "store/store.h"

namespace orch::store::test {

namespace fs = std::filesystem;

class Place {
 public:
  Place() {
    std::string name = (fs::temp_directory_path() / "orch-store-XXXXXX").string();
    if (!mkdtemp(name.data())) throw std::runtime_error("no folder for the test");
    folder_ = name;
  }
  ~Place() { fs::remove_all(folder_); }
  Place(const Place&) = delete;
  Place& operator=(const Place&) = delete;

  fs::path state() const { return folder_ / "state"; }
  fs::path database() const { return state() / "orch.db"; }
  fs::path other(const std::string& name) const { return folder_ / name; }

  /// Tests may be run in a home on NFS; what that means for the store is tested by itself.
  static Options options() { return {.read_only = false, .allow_network_disk = true}; }
  static Options reading() { return {.read_only = true, .allow_network_disk = true}; }

  std::unique_ptr<Store> open() const { return opened(Store::open(state(), options())); }
  std::unique_ptr<Store> open_reading() const { return opened(Store::open(state(), reading())); }
  static std::unique_ptr<Store> opened(Result<std::unique_ptr<Store>> store) {
    if (!store) throw std::runtime_error(store.error().what);
    return *std::move(store);
  }

  /// SQL past the store, while no Store is open.
  void tell(const std::string& sql) const { Database(database(), Database::Mode::kWrite).run(sql); }
  std::int64_t ask(const std::string& sql) const { return Database(database(), Database::Mode::kWrite).number(sql); }

  /// Every file of the state directory: its bytes, and when it was last written. While no Store is open.
  std::map<std::string, std::pair<std::string, fs::file_time_type>> files() const {
    std::map<std::string, std::pair<std::string, fs::file_time_type>> all;
    for (const auto& entry : fs::directory_iterator(state())) {
      std::ostringstream bytes;
      bytes << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      all[entry.path().filename()] = {bytes.str(), entry.last_write_time()};
    }
    return all;
  }

 private:
  fs::path folder_;
};

/// Five notes about `number`, in two events, and the number as the policy: a group that is whole or not there.
inline std::vector<control::Effects> group(int number) {
  using namespace control;
  std::vector<Effects> group(2);
  const auto note = [&] { return row::Note{Utc{}, "test", number, -1, -1, "note " + std::to_string(number)}; };
  group[0].changes = {note(), note(), row::PutFact{"policy", std::to_string(number)}};
  group[1].changes = {note(), note(), note()};
  return group;
}
inline constexpr std::int64_t kNotesOfAGroup = 5;

inline void commit(Store& store, const std::vector<control::Effects>& group) {
  const auto committed = store.commit(group);
  if (!committed) throw std::runtime_error(committed.error().what);
}

}  // namespace orch::store::test
