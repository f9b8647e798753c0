#include "sandbox/box/filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>

namespace orch::sandbox {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr std::uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr std::uint32_t kArchitecture = 0;
#endif

/// set_mempolicy_home_node of Linux 5.17. Above it are calls that this list does not know, and x86's second set.
constexpr std::uint32_t kLastKnown = 450;

constexpr std::uint32_t kNewNamespaces =
    CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET;

// Calls since 5.1 have one number on all processors, and headers of an older kernel do not name them.
enum NewCall : long {
  kIoUringSetup = 425,
  kIoUringEnter,
  kIoUringRegister,
  kOpenTree,
  kMoveMount,
  kFsOpen,
  kFsConfig,
  kFsMount,
  kFsPick,
  kClone3 = 435,
  kPidfdGetfd = 438,
  kProcessMadvise = 440,
  kMountSetattr = 442,
  kQuotactlFd = 443,
  kMemfdSecret = 447,
  kProcessMrelease = 448,
};

constexpr std::initializer_list<long> kRefused = {
    // what is mounted, and where the root is
    SYS_mount, SYS_umount2, SYS_pivot_root, SYS_chroot, kFsOpen, kFsConfig, kFsMount, kFsPick, kMoveMount, kOpenTree,
    kMountSetattr, SYS_name_to_handle_at, SYS_open_by_handle_at, SYS_quotactl, kQuotactlFd, SYS_fanotify_init,
    // namespaces
    SYS_unshare, SYS_setns, SYS_sethostname, SYS_setdomainname,
    // other processes
    SYS_ptrace, SYS_process_vm_readv, SYS_process_vm_writev, kProcessMadvise, kProcessMrelease, SYS_kcmp, kPidfdGetfd,
    SYS_move_pages, SYS_migrate_pages, SYS_setpriority, SYS_ioprio_set, SYS_sched_setscheduler, SYS_sched_setparam,
    SYS_sched_setattr, SYS_sched_setaffinity,
    // the kernel itself
    SYS_bpf, SYS_perf_event_open, SYS_init_module, SYS_finit_module, SYS_delete_module, SYS_kexec_load,
#if defined(SYS_kexec_file_load)
    SYS_kexec_file_load,
#endif
    SYS_reboot, SYS_swapon, SYS_swapoff, SYS_acct, SYS_syslog, SYS_settimeofday, SYS_clock_settime, SYS_adjtimex,
    SYS_clock_adjtime, SYS_lookup_dcookie, SYS_nfsservctl, SYS_vhangup, SYS_personality, SYS_userfaultfd, kIoUringSetup,
    kIoUringEnter, kIoUringRegister, SYS_vmsplice, SYS_mbind, SYS_set_mempolicy,
#if defined(__x86_64__)
    SYS_iopl, SYS_ioperm, SYS_modify_ldt, SYS_uselib, SYS_ustat, SYS_sysfs,
#endif
    // keys, and memory that belongs to no process
    SYS_add_key, SYS_request_key, SYS_keyctl, SYS_memfd_create, kMemfdSecret, SYS_shmget, SYS_shmat, SYS_shmctl,
    SYS_semget, SYS_semctl, SYS_semop, SYS_msgget, SYS_msgctl, SYS_msgsnd, SYS_msgrcv, SYS_mq_open};

class Filter {
 public:
  void load(std::size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<std::uint32_t>(offset)); }
  void answer(std::uint32_t what) { add(BPF_RET | BPF_K, what); }
  /// What follows, `count` steps, is for this value alone.
  void only_for(std::uint32_t value, std::uint8_t count) {
    rules_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, count));
  }
  void only_above(std::uint32_t value, std::uint8_t count) {
    rules_.push_back(BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, value, 0, count));
  }
  void only_with(std::uint32_t bits, std::uint8_t count) {
    rules_.push_back(BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, count));
  }
  /// What follows, `count` steps, is for all other values.
  void unless(std::uint32_t value, std::uint8_t count) {
    rules_.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, count, 0));
  }
  std::vector<sock_filter> take() { return std::move(rules_); }

 private:
  void add(std::uint16_t code, std::uint32_t value) { rules_.push_back({code, 0, 0, value}); }

  std::vector<sock_filter> rules_;
};

constexpr std::uint32_t kNo = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t kUnknown = SECCOMP_RET_ERRNO | ENOSYS;

/// Of the arguments their lower halves: both processors are little-endian.
constexpr std::size_t argument(std::size_t n) { return offsetof(seccomp_data, args) + n * sizeof(std::uint64_t); }

}  // namespace

std::vector<sock_filter> filter() {
  if (kArchitecture == 0) return {};
  Filter filter;
  filter.load(offsetof(seccomp_data, arch));
  filter.unless(kArchitecture, 1);  // x86-64 also runs the calls of 32-bit programs, under other numbers
  filter.answer(SECCOMP_RET_KILL_PROCESS);
  filter.load(offsetof(seccomp_data, nr));
  filter.only_above(kLastKnown, 1);
  filter.answer(kUnknown);
  for (const long call : kRefused) {
    filter.only_for(static_cast<std::uint32_t>(call), 1);
    filter.answer(kNo);
  }
  // Its flags are in memory, out of a filter's sight. The C library does with clone what it cannot do with this one.
  filter.only_for(kClone3, 1);
  filter.answer(kUnknown);
  filter.only_for(SYS_clone, 4);
  filter.load(argument(0));
  filter.only_with(kNewNamespaces, 1);
  filter.answer(kNo);
  filter.answer(SECCOMP_RET_ALLOW);
  // Sockets of other families reach into parts of the kernel that an empty network does not close.
  filter.only_for(SYS_socket, 4);
  filter.load(argument(0));
  filter.unless(AF_UNIX, 1);
  filter.answer(kNo);
  filter.answer(SECCOMP_RET_ALLOW);
  // Limits of other processes.
  filter.only_for(SYS_prlimit64, 4);
  filter.load(argument(0));
  filter.unless(0, 1);
  filter.answer(kNo);
  filter.answer(SECCOMP_RET_ALLOW);
  filter.answer(SECCOMP_RET_ALLOW);
  return filter.take();
}

}  // namespace orch::sandbox
