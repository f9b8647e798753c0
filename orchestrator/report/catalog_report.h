// What the catalog holds, as tables and as lists of objects.
#pragma once

#include <iosfwd>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/catalog.h"
#include "report/table.h"

namespace orch::report {

nlohmann::ordered_json to_json(const Model& model, const Catalog& catalog);
nlohmann::ordered_json to_json(const Task& task, const Catalog& catalog);
nlohmann::ordered_json to_json(const Profile& profile);
nlohmann::ordered_json to_json(const Category& category);
nlohmann::ordered_json to_json(const Gpu& gpu);

void print_models(std::ostream& out, const Style& style, std::span<const Model* const> models);
void print_tasks(std::ostream& out, const Style& style, std::span<const Task* const> tasks);
void print_profiles(std::ostream& out, const Style& style, const Catalog& catalog);
void print_categories(std::ostream& out, const Style& style, const Catalog& catalog);
void print_gpus(std::ostream& out, const Style& style, const Catalog& catalog);

/// Everything that is known of one entry, and the place where it stands.
void print_entry(std::ostream& out, const Style& style, const nlohmann::ordered_json& entry);

}  // namespace orch::report
