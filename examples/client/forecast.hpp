#ifndef PROGRAMS_CLIENT_FORECAST_HPP
#define PROGRAMS_CLIENT_FORECAST_HPP

/// \file
/// How much there is to do.

#include "client/jobs.hpp"

#include <stop_token>
#include <string>
#include <thread>

namespace programs {

/// Counts the files that the user named, and those below folders, on a thread of its own, if
/// anybody looks at how far the job is. The job itself walks again: it sends what is there when its
/// turn comes, and holds no list of all that is.
class forecast {
 public:
  explicit forecast(workplace& at);
  forecast(const forecast&) = delete;
  forecast& operator=(const forecast&) = delete;

 private:
  void count(const std::stop_token& ended);
  void count_folder(const std::string& path, const std::stop_token& ended);

  const client_settings& chosen_;
  progress& job_;
  std::jthread thread_;
};

}  // namespace programs

#endif
