// Trainings as people read them: the texts are written here by hand.
#include "report/curve_report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "report/status_report.h"

namespace orch::report {
namespace {

using nlohmann::ordered_json;
using testing::HasSubstr;
using testing::Not;

const char* const kTrainings = R"([
  {"cell": "c3", "key": "0123456789abcdef", "model": "small", "task": "poems", "job": "j1",
   "live": {"step": 100, "steps": 300, "loss": 1.93456, "norm": 0.8, "rate": 0.0002, "tokens": 2048, "seconds": 60,
            "tokens_per_second": 3413.4, "memory": 1073741824, "held_out": {"loss": 2.5}}},
  {"cell": "c4", "key": "fedcba9876543210", "model": "small", "task": "prose", "job": "j2", "live": {"step": 1}}])";

ordered_json curve(const std::string& key, double rate) {
  return {{"key", key},
          {"model", "small"},
          {"task", "poems"},
          {"state", "done"},
          {"settings", {{"lr", rate}, {"seed", 0}}},
          {"points",
           {{{"step", 1}, {"steps", 3}, {"loss", 3}, {"rate", rate}, {"norm", 200}},
            {{"step", 2}, {"steps", 3}, {"loss", nullptr}, {"rate", rate}, {"norm", 1}, {"note", "skipped: NaN"}},
            {{"step", 3}, {"steps", 3}, {"loss", 1}, {"rate", 0}, {"norm", 1}, {"held_out", {{"loss", 1.5}}}}}}};
}

template <class Print>
std::string printed(Print print, const ordered_json& json) {
  std::ostringstream out;
  print(out, Style{}, json);
  return out.str();
}

TEST(Trainings, StandBelowJobsWithTheFiguresOfTheirLastStep) {
  // 100 of 300 steps took 60 s: 120 s are left.
  const std::string rows =
      "  training      model  task   job        step   loss  held-out loss    rate  norm  tokens/s  memory   left\n"
      "  0123456789ab  small  poems  j1   100 of 300  1.935            2.5  0.0002   0.8     3,413   1 GiB  2 min\n"
      "  fedcba987654  small  prose  j2            1\n";
  EXPECT_EQ(printed(print_trainings, ordered_json::parse(kTrainings)), rows);
  const std::string status =
      printed(print_status, {{"daemon", {{"state", "up"}}}, {"trainings", ordered_json::parse(kTrainings)}});
  EXPECT_THAT(status, HasSubstr("\n\n" + rows));
  EXPECT_THAT(printed(print_status, {{"daemon", {{"state", "up"}}}, {"trainings", ordered_json::array()}}),
              Not(HasSubstr("training")));
}

TEST(Trainings, AreExplainedInASentence) {
  const ordered_json live = ordered_json::parse(kTrainings)[0]["live"];
  EXPECT_EQ(training_text(live),
            "step 100 of 300, loss 1.935, held-out loss 2.5, rate 0.0002, norm 0.8, tokens/s 3,413, memory 1 GiB, "
            "about 2 min left");
  EXPECT_EQ(training_text(nullptr), "");
  EXPECT_THAT(printed(print_cell_details, {{"key", "0123456789abcdef"}, {"state", "running"}, {"live", live}}),
              HasSubstr("  training:   step 100 of 300, loss 1.935, "));
}

TEST(Trainings, OfAnotherDaemonShowWhatThereIs) {
  for (const char* const odd : {"[7]", "[{}]", R"([{"live": []}])", R"([{"live": {"step": "x", "loss": {}}}])"})
    EXPECT_THAT(printed(print_trainings, ordered_json::parse(odd)), HasSubstr("training"));
}

TEST(Curves, AreATableOfTheirLastFiguresAndTheSettingsThatDiffer) {
  EXPECT_EQ(printed(print_curves, {curve("aaaaaaaaaaaaaaaa", 0.5), curve("bbbbbbbbbbbbbbbb", 0.25)}),
            "  cell          model  task   lr    state    step  loss  held-out loss  rate  norm  tokens/s  memory\n"
            "  aaaaaaaaaaaa  small  poems  0.5   done   3 of 3     1            1.5     0     1\n"
            "  bbbbbbbbbbbb  small  poems  0.25  done   3 of 3     1            1.5     0     1\n");
  EXPECT_EQ(printed(print_curves, ordered_json::array()), "");
}

TEST(Curves, AreALineACellStepAndFigureInCsv) {
  ordered_json one = curve("k", 0.5);
  one["settings"] = {{"lr", 0.5}};
  std::ostringstream out;
  write_curves_csv(out, ordered_json::array({one}));
  EXPECT_EQ(out.str(),
            "key,model,task,settings,step,figure,value\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",1,loss,3\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",1,rate,0.5\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",1,norm,200\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",2,rate,0.5\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",2,norm,1\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",3,loss,1\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",3,rate,0\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",3,norm,1\r\n"
            "k,small,poems,\"{\"\"lr\"\":0.5}\",3,held_out_loss,1.5\r\n");
}

TEST(Curves, AreDrawnPanelByPanel) {
  const std::string svg =
      curves_svg("Trainings of s1", {curve("aaaaaaaaaaaaaaaa", 0.5), curve("bbbbbbbbbbbbbbbb", 0.25)});
  for (const char* const text :
       {">Trainings of s1</text>", ">loss</text>", ">learning rate</text>", ">norm of gradients (logarithmic)</text>",
        ">aaaaaaaaaaaa  small/poems  lr=0.5</text>", ">lines with dots: data that was held out</text>"})
    EXPECT_THAT(svg, HasSubstr(text));
  EXPECT_THAT(svg, Not(HasSubstr("reward"))) << "nobody has one";
  ordered_json rewarded = curve("c", 1);
  rewarded["points"][0]["reward"] = 0.5;
  EXPECT_THAT(curves_svg("t", ordered_json::array({rewarded})), HasSubstr(">reward</text>"));
  ordered_json even = curve("c", 1);
  even["points"][0]["norm"] = 99;  // two decades less a little
  EXPECT_THAT(curves_svg("t", ordered_json::array({even})), HasSubstr(">norm of gradients</text>"));
}

TEST(Curves, OfWhichThereAreTooManyAreCounted) {
  ordered_json many = ordered_json::array();
  for (int i = 0; i < 43; ++i) many.push_back(curve("k" + std::to_string(i), 1));
  const std::string svg = curves_svg("t", many);
  EXPECT_THAT(svg, HasSubstr(">… and 3 more curves, not drawn</text>"));
}

TEST(Curves, OfNothingSaySo) {
  EXPECT_THAT(curves_svg("t", ordered_json::array()), HasSubstr("no training has written a step yet"));
  for (const char* const odd : {"[7]", "[{}]", R"([{"points": 7}])", R"([{"points": [7, null, [], {}]}])"}) {
    EXPECT_THAT(curves_html("t", ordered_json::parse(odd)), HasSubstr("</html>"));
    std::ostringstream out;
    write_curves_csv(out, ordered_json::parse(odd));
    EXPECT_EQ(out.str(), "key,model,task,settings,step,figure,value\r\n");
  }
}

TEST(Curves, AreAPageThatNeedsNothingElse) {
  ordered_json evil = curve("k", 1);
  evil["model"] = "</td><script>alert(1)</script>";
  evil["settings"] = {{"<i>", "<b>"}};
  const std::string page = curves_html("<title>", {evil, curve("m", 1)});
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
  EXPECT_THAT(page, Not(HasSubstr("<i>")));
  EXPECT_THAT(page, HasSubstr("<td>&lt;/td&gt;&lt;script&gt;"));
  EXPECT_THAT(page, HasSubstr("<svg "));
  for (const char* const outside : {"href", "src=", "url(", "@import"}) EXPECT_THAT(page, Not(HasSubstr(outside)));
}

}  // namespace
}  // namespace orch::report
