#include "cache/hub_program.h"

#include <gmock/gmock.h>

#include "cache/fetch.h"

namespace orch::cache {
namespace {

using testing::HasSubstr, testing::Not;

TEST(Blotter, BlotsASecretOutHoweverItIsCut) {
  const std::string text = "before hf_secret1hf_secret1 hf_secre and hf_secret1";
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    Blotter blotter({"hf_secret1"});
    std::string shown;
    for (std::size_t at = 0; at < text.size(); at += piece) shown += blotter.pass(text.substr(at, piece));
    shown += blotter.end();
    EXPECT_EQ(shown, "before (token)(token) hf_secre and (token)") << piece;
  }
}

TEST(Blotter, HoldsBackNoMoreThanTheBeginningOfASecret) {
  Blotter blotter({"hf_secret1"});
  EXPECT_EQ(blotter.pass("12%\r"), "12%\r");
  EXPECT_EQ(blotter.pass("13% h"), "13% ");
  EXPECT_EQ(blotter.pass("ello"), "hello");
}

struct Said {
  const char* text;
  HubFailure why;
};

class WhyItFailed : public testing::TestWithParam<Said> {};

TEST_P(WhyItFailed, IsReadFromWhatTheProgramSays) { EXPECT_EQ(why_it_failed(GetParam().text), GetParam().why); }

// As printed by huggingface_hub 0.2x and 2.4.
INSTANTIATE_TEST_SUITE_P(
    Hub, WhyItFailed,
    testing::Values(
        Said{"huggingface_hub.errors.GatedRepoError: 403 Client Error.\n\nCannot access gated repo for url "
             "https://huggingface.co/org/m/resolve/main/config.json.\nAccess to model org/m is restricted and you are "
             "not in the authorized list. Visit https://huggingface.co/org/m to ask for access.",
             HubFailure::kGated},
        Said{"Error: Access denied. Model 'org/m' requires approval.", HubFailure::kGated},
        Said{"Access to model org/m is restricted. You must have access to it and be authenticated to access it. "
             "Please log in.",
             HubFailure::kGated},
        Said{"huggingface_hub.errors.RepositoryNotFoundError: 401 Client Error.\n\nRepository Not Found for url: "
             "https://huggingface.co/api/models/org/m/revision/main.\nPlease make sure you specified the correct "
             "`repo_id` and `repo_type`.\nIf you are trying to access a private or gated repo, make sure you are "
             "authenticated",
             HubFailure::kNotFound},
        Said{"Error: Model 'org/m' not found.\nIf the repo is private, make sure you are authenticated and your token "
             "has the required permissions.",
             HubFailure::kNotFound},
        Said{"Error: Revision not found in model 'org/m'.", HubFailure::kNoRevision},
        Said{"Error: Local entry not found. Cannot reach https://huggingface.co/api/models/a/b/revision/main: offline "
             "mode is enabled. To disable it, please unset the `HF_HUB_OFFLINE` environment variable.",
             HubFailure::kOffline},
        Said{"Error: Local entry not found. [Errno 111] Connection refused", HubFailure::kNetwork},
        Said{"requests.exceptions.ConnectionError: (MaxRetryError(\"HTTPSConnectionPool(host='huggingface.co', "
             "port=443): Max retries exceeded with url: /api/models/a/b (Caused by NameResolutionError: Temporary "
             "failure in name resolution)\"))",
             HubFailure::kNetwork},
        Said{"HfHubHTTPError: 429 Client Error: Too Many Requests for url", HubFailure::kBusy},
        Said{"OSError: [Errno 28] No space left on device", HubFailure::kDisk},
        Said{"OSError: [Errno 122] Disk quota exceeded", HubFailure::kDisk},
        Said{"Segmentation fault", HubFailure::kOther}));

TEST(Told, GatedNamesTheModelsOwnPageAndWhetherATokenWasFound) {
  FetchAsk ask;
  ask.id = "org/m";
  EXPECT_THAT(told(HubFailure::kGated, ask, false), HasSubstr("https://huggingface.co/org/m and say who you are"));
  EXPECT_THAT(told(HubFailure::kGated, ask, true), HasSubstr("Accept it at https://huggingface.co/org/m"));
  EXPECT_THAT(told(HubFailure::kGated, ask, true), Not(HasSubstr("no token")));
}

}  // namespace
}  // namespace orch::cache
