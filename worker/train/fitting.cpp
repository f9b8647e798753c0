#include "train/fitting.h"

#include <algorithm>

#include "base/text.h"
#include "base/units.h"

namespace orch::train {
namespace {

/// Beyond, products are no faster for being larger.
constexpr std::int64_t kMostTokens = 8192;
/// Below, so much of each product is overhead that computing layers again (a third more work) is the better choice.
constexpr std::int64_t kGoodTokens = 512;

}  // namespace

Result<Fitting> fit(const FittingAsked& asked, const std::function<double(const LearnerBounds&)>& bytes) {
  const std::int64_t unit = asked.longest * asked.together;
  const std::int64_t wanted = std::max(unit, std::min(asked.batch, kMostTokens));
  const auto bounds = [&](std::int64_t tokens, bool again) {
    LearnerBounds pass;
    pass.tokens = tokens;
    const std::int64_t texts = asked.most_texts > 0 ? asked.most_texts * asked.together : asked.texts;
    pass.texts = std::max(asked.together, std::min(texts, tokens));
    pass.length = asked.longest;
    pass.again = again;
    pass.dropout = asked.dropout;
    return pass;
  };
  const auto fits = [&](const LearnerBounds& pass) { return asked.memory <= 0 || bytes(pass) <= asked.memory; };
  /// The most tokens, by halves, down to `least`.
  const auto largest = [&](bool again, std::int64_t least) -> std::optional<LearnerBounds> {
    for (std::int64_t tokens = wanted;; tokens = std::max(least, tokens / 2)) {
      if (const LearnerBounds pass = bounds(tokens, again); fits(pass)) return pass;
      if (tokens == least) return std::nullopt;
    }
  };

  Fitting fitting;
  const auto choose = [&](const LearnerBounds& pass, const std::string& why) {
    fitting.pass = pass;
    fitting.bytes = bytes(pass);
    const std::string at_once = counted(pass.tokens, "token") + " at once";
    const std::string room = asked.memory > 0 ? " of the " + format_bytes(asked.memory) + " that are left" : "";
    fitting.reasons.push_back(at_once + ": they take " + format_bytes(fitting.bytes) + room +
                              (pass.tokens < wanted ? "; " + counted(wanted, "token") + " would not fit" : ""));
    fitting.reasons.push_back(why);
  };
  const std::int64_t good = std::max(unit, std::min(wanted, kGoodTokens));
  if (!asked.again.value_or(false)) {
    if (const auto pass = largest(false, asked.again ? unit : good)) {
      choose(*pass, "layers are computed once: what the way back reads has room");
      return fitting;
    }
  }
  if (asked.again.value_or(true)) {
    if (const auto pass = largest(true, unit)) {
      choose(*pass, asked.again ? "layers are computed again on the way back, as was asked"
                                : "layers are computed again on the way back: kept whole, " + counted(good, "token") +
                                      " would take " + format_bytes(bytes(bounds(good, false))));
      return fitting;
    }
  }
  const bool again = asked.again.value_or(true);
  return Error{"a text of " + counted(asked.longest, "token") +
               (asked.together > 1 ? " and those judged beside it take " : " takes ") +
               format_bytes(bytes(bounds(unit, again))) + " in training" +
               (again ? ", even with layers computed again" : " without layers computed again") + ", and " +
               format_bytes(asked.memory) + " are left"};
}

}  // namespace orch::train
