#ifndef FILEXFER_DETAIL_STORE_TOKEN_CLAIMS_HPP
#define FILEXFER_DETAIL_STORE_TOKEN_CLAIMS_HPP

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace filexfer::detail {

/// Who receives under which token, so that the newest can take over.
class token_claims {
  struct claimed {
    std::atomic<bool> revoked{false};
  };

 public:
  /// A hold on a token, until it is destroyed. The claims must outlive it.
  class claim {
   public:
    claim() = default;
    claim(claim&& other) noexcept
        : from_{std::exchange(other.from_, nullptr)},
          token_{std::move(other.token_)},
          state_{std::move(other.state_)} {}
    claim& operator=(claim&& other) noexcept {
      claim moved{std::move(other)};
      std::swap(from_, moved.from_);
      std::swap(token_, moved.token_);
      std::swap(state_, moved.state_);
      return *this;
    }
    ~claim() {
      if (from_ != nullptr) from_->drop(token_);
    }

    explicit operator bool() const noexcept { return from_ != nullptr; }

    /// Set once somebody else wants the token. Stays where it is when the claim is moved.
    const std::atomic<bool>& revoked() const noexcept {
      static constinit const std::atomic<bool> never{false};
      return state_ ? state_->revoked : never;
    }

   private:
    friend class token_claims;
    claim(token_claims& from, std::string token, std::shared_ptr<claimed> state) noexcept
        : from_{&from}, token_{std::move(token)}, state_{std::move(state)} {}

    token_claims* from_ = nullptr;
    std::string token_;
    std::shared_ptr<claimed> state_;
  };

  /// Takes `token`; false if somebody has it, who is told to give it up.
  claim take(const std::string& token) {
    const std::lock_guard lock{mutex_};
    const auto [held, added] = held_.try_emplace(token);
    if (!added) {
      held->second->revoked = true;
      return {};
    }
    try {
      held->second = std::make_shared<claimed>();
      return claim{*this, token, held->second};
    } catch (...) {
      held_.erase(held);
      throw;
    }
  }

  bool holds(const std::string& token) {
    const std::lock_guard lock{mutex_};
    return held_.contains(token);
  }

 private:
  void drop(const std::string& token) noexcept {
    const std::lock_guard lock{mutex_};
    held_.erase(token);
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<claimed>> held_;
};

}  // namespace filexfer::detail

#endif
