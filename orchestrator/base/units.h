// Numbers with units, as people write them and as they are shown.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace orch {

constexpr double kKiB = 1024.0;
constexpr double kMiB = 1024.0 * kKiB;
constexpr double kGiB = 1024.0 * kMiB;

/// `70.6B`, `360M`, `2k`, `1_000_000`, `12`: a count of anything, at least 0. K, M, B (or G) and T are powers of 1,000.
std::optional<double> parse_count(std::string_view text);

/// Bytes: `80GB` is decimal, `80GiB` binary, `256G` binary too (as in Slurm); a bare number is bytes.
std::optional<double> parse_bytes(std::string_view text);

/// Bytes a second, `/s` or not: as bytes, with `Gbit` too. `Gb` is refused: bits to some, bytes to others.
std::optional<double> parse_rate(std::string_view text);

/// Seconds: `90s`, `30min`, `20h`, `2d`, `1h30m`, `12:34:56`, `12:34` (min:s), `1-02`, `1-02:03`, `1-02:03:04` as Slurm
/// writes them. A bare number is refused: Slurm reads it as minutes, people as seconds.
std::optional<double> parse_duration(std::string_view text);

std::string format_count(double count);                ///< `70.6B`, `656k`, `12`
std::string format_bytes(double bytes);                ///< `1.25 GiB`
std::string format_duration(double seconds);           ///< `2 h 14 min`, `3.2 s`, `1 d 4 h`
std::string format_slurm_time(std::int64_t seconds);   ///< `1-02:03:04`, `02:03:04`: what `--time` takes
std::string format_fixed(double value, int decimals);  ///< `0.450`, and never `-0.000`
std::string grouped(long long value);                  ///< `1,000,450`

}  // namespace orch
