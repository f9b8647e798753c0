// Why programs cannot be confined on a machine, for the person who can change that.
#pragma once

#include <filesystem>
#include <string>

namespace orch::sandbox {

/// The step at which namespaces are made.
inline constexpr const char* kCloneStep = "make new namespaces";
/// Steps at which it is the request's fault.
inline constexpr const char* kStartProgram = "start the program";
inline constexpr const char* kShowFolder = "read a folder that was to be shown";

/// `error`: errno at `step`. Settings of the system that explain it are looked for under `sysctl`.
std::string why_refused(const std::string& step, int error, const std::filesystem::path& sysctl = "/proc/sys");

}  // namespace orch::sandbox
