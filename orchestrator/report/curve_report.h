// Trainings as people see them: where those are that run, and the curves of all, as a table, CSV, an SVG or a page.
//
// A curve is what `/v1/cells/{cell}/curve` answers: key, model, task, state, settings, and points as report/curve.h
// has them.
#pragma once

#include <iosfwd>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "report/table.h"

namespace orch::report {

/// `step 12 of 300, loss 1.93, rate 0.0002, …` of a point.
std::string training_text(const nlohmann::ordered_json& point);

/// A row for each training of a status, with the figures of its last step.
void print_trainings(std::ostream& out, const Style& style, const nlohmann::ordered_json& trainings);

/// A row a curve, with the last figure of each name.
void print_curves(std::ostream& out, const Style& style, const nlohmann::ordered_json& curves);

/// RFC 4180, a line for each curve, step and figure: key, model, task, settings (JSON), step, figure, value. Figures of
/// held-out data have held_out_ before their names.
void write_curves_csv(std::ostream& out, const nlohmann::ordered_json& curves);

/// Losses, learning rate, norm of gradients and what else there is (rewards, margins, …) over the steps.
std::string curves_svg(const std::string& title, const nlohmann::ordered_json& curves);

/// A page with the drawing and the table, which needs nothing else.
std::string curves_html(const std::string& title, const nlohmann::ordered_json& curves);

}  // namespace orch::report
