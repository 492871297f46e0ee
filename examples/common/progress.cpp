#include "common/progress.hpp"

#include <algorithm>
#include <utility>

namespace programs {

void progress::expect(std::optional<std::uint64_t> octets) {
  const std::lock_guard lock{mutex_};
  ++files_known_;
  if (octets) octets_known_ += static_cast<std::int64_t>(*octets);
  else ++sizes_unknown_;
}

void progress::expect_no_more() {
  const std::lock_guard lock{mutex_};
  no_more_ = true;
}

progress::figures progress::now() const {
  const std::lock_guard lock{mutex_};
  const auto known = static_cast<std::uint64_t>(std::max<std::int64_t>(octets_known_, 0));
  return {files_, std::max(files_, files_known_), octets_, std::max(octets_, known),
          no_more_ && sizes_unknown_ == 0};
}

void progress::change(const std::optional<std::uint64_t>& expected, std::uint64_t octets) {
  const std::lock_guard lock{mutex_};
  octets_known_ += static_cast<std::int64_t>(octets);
  if (expected) octets_known_ -= static_cast<std::int64_t>(*expected);
  else --sizes_unknown_;
}

void progress::moved(std::uint64_t octets) {
  const std::lock_guard lock{mutex_};
  octets_ += octets;
}

void progress::need_not_move(std::uint64_t octets) {
  const std::lock_guard lock{mutex_};
  octets_known_ -= static_cast<std::int64_t>(octets);
}

void progress::done(const std::optional<std::uint64_t>& expected, std::uint64_t gone_past) {
  const std::lock_guard lock{mutex_};
  ++files_;
  if (expected) octets_known_ -= static_cast<std::int64_t>(*expected - gone_past);
  else --sizes_unknown_;
}

void file_progress::begin(std::uint64_t octets) {
  if (expected_ != octets) job_.change(expected_, octets);
  expected_ = octets;
  under_way_ = true;
  at_ = 0;
}

void file_progress::moved(std::size_t octets) {
  if (!under_way_) return;
  at_ += octets;
  if (at_ > furthest_) job_.moved(at_ - std::exchange(furthest_, at_));
}

void file_progress::goes_on_at(std::uint64_t octets) {
  if (!under_way_) return;
  at_ = octets;
  if (at_ > furthest_) job_.need_not_move(at_ - std::exchange(furthest_, at_));
}

}  // namespace programs
