#ifndef FILEXFER_FILEXFER_HPP
#define FILEXFER_FILEXFER_HPP

/// \file
/// The whole library, except what needs more than Asio and Crypto++: `tls.hpp`.

#include <filexfer/access_request.hpp>
#include <filexfer/any_digest.hpp>
#include <filexfer/any_stream.hpp>
#include <filexfer/authorizer.hpp>
#include <filexfer/batch.hpp>
#include <filexfer/client.hpp>
#include <filexfer/command_stream.hpp>
#include <filexfer/connection_counter.hpp>
#include <filexfer/connector.hpp>
#include <filexfer/digest.hpp>
#include <filexfer/digest_cache.hpp>
#include <filexfer/directory_store.hpp>
#include <filexfer/error.hpp>
#include <filexfer/fault_stream.hpp>
#include <filexfer/fields.hpp>
#include <filexfer/file.hpp>
#include <filexfer/file_download.hpp>
#include <filexfer/glob.hpp>
#include <filexfer/ip_network.hpp>
#include <filexfer/md5.hpp>
#include <filexfer/memory.hpp>
#include <filexfer/memory_pipe.hpp>
#include <filexfer/memory_store.hpp>
#include <filexfer/name_filter.hpp>
#include <filexfer/options.hpp>
#include <filexfer/peer_identity.hpp>
#include <filexfer/pipe_stream.hpp>
#include <filexfer/printable.hpp>
#include <filexfer/protocol.hpp>
#include <filexfer/proxy_protocol.hpp>
#include <filexfer/publication.hpp>
#include <filexfer/recording_stream.hpp>
#include <filexfer/remote_file.hpp>
#include <filexfer/results.hpp>
#include <filexfer/server.hpp>
#include <filexfer/session.hpp>
#include <filexfer/session_event.hpp>
#include <filexfer/session_log.hpp>
#include <filexfer/sha256.hpp>
#include <filexfer/storage.hpp>
#include <filexfer/stream.hpp>
#include <filexfer/transfer.hpp>
#include <filexfer/transfer_pool.hpp>
#include <filexfer/transfer_progress.hpp>
#include <filexfer/transfer_types.hpp>
#include <filexfer/tree_sink.hpp>
#include <filexfer/tree_source.hpp>
#include <filexfer/verification.hpp>
#include <filexfer/version.hpp>

#endif
