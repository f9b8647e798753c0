// A device for tests: another backend's arithmetic, but late, and in memory that the host cannot touch. It finds what a
// GPU would punish now and then: what is read before it was waited for, freed while it is in use, left unwritten, or
// looked at by the host.
//
// Holds:
//  - An op runs when its stream is waited for, or earlier, as the seed has it. What it was told (Norms included) was
//    read when it was enqueued.
//  - An op finds open only the buffers that it was given, for reading those that it only reads. Outputs and scratch are
//    poison when it begins.
//  - What nobody may do ends the process with a sentence on standard error: memory or weights freed, or a stream
//    given up, before the ops that use them have run; two streams that use what one of them writes; too little scratch;
//    bytes of an upload that changed under way; an operand that is no memory of this device. Where a download goes
//    stands poison until it was waited for.
#pragma once

#include <cstdint>
#include <memory>

#include "kernels/backend.h"

namespace orch::kernels {

struct FakeOptions {
  std::uint64_t seed = 0;  ///< of which ops run early; 0: none does
};
/// `arithmetic` must carry ops out where they are called, in any memory of the host.
std::unique_ptr<Backend> make_fake_backend(std::unique_ptr<Backend> arithmetic, const FakeOptions& options = {});

}  // namespace orch::kernels
