#ifndef FILEXFER_DETAIL_STORE_TOKEN_CLAIMS_HPP
#define FILEXFER_DETAIL_STORE_TOKEN_CLAIMS_HPP

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

namespace filexfer::detail {

/// Which tokens are held by uploads, so that the newest upload can take over.
class token_claims {
  struct claim_state {
    std::atomic<bool> revoked{false};
  };

 public:
  /// Holds a token until it is destroyed. The `token_claims` must outlive it.
  class claim {
   public:
    claim() = default;
    claim(claim&& other) noexcept
        : claims_{std::exchange(other.claims_, nullptr)},
          token_{std::move(other.token_)},
          state_{std::move(other.state_)} {}
    claim& operator=(claim&& other) noexcept {
      claim moved{std::move(other)};
      std::swap(claims_, moved.claims_);
      std::swap(token_, moved.token_);
      std::swap(state_, moved.state_);
      return *this;
    }
    ~claim() {
      if (claims_ != nullptr) claims_->release(token_);
    }

    explicit operator bool() const noexcept { return claims_ != nullptr; }

    /// Set once another upload wants the token. Its address does not change when the claim is
    /// moved.
    const std::atomic<bool>& revoked() const noexcept {
      static constinit const std::atomic<bool> never{false};
      return state_ ? state_->revoked : never;
    }

   private:
    friend class token_claims;
    claim(token_claims& claims, std::string token, std::shared_ptr<claim_state> state) noexcept
        : claims_{&claims}, token_{std::move(token)}, state_{std::move(state)} {}

    token_claims* claims_ = nullptr;
    std::string token_;
    std::shared_ptr<claim_state> state_;
  };

  /// Claims `token`; if it is held, returns false and revokes the holder.
  claim take(const std::string& token) {
    const std::lock_guard lock{mutex_};
    const auto [entry, added] = held_.try_emplace(token);
    if (!added) {
      entry->second->revoked = true;
      return {};
    }
    try {
      entry->second = std::make_shared<claim_state>();
      return claim{*this, token, entry->second};
    } catch (...) {
      held_.erase(entry);
      throw;
    }
  }

  bool holds(const std::string& token) {
    const std::lock_guard lock{mutex_};
    return held_.contains(token);
  }

 private:
  void release(const std::string& token) noexcept {
    const std::lock_guard lock{mutex_};
    held_.erase(token);
  }

  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<claim_state>> held_;
};

}  // namespace filexfer::detail

#endif
