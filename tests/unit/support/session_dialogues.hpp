#ifndef FILEXFER_TESTS_SUPPORT_SESSION_DIALOGUES_HPP
#define FILEXFER_TESTS_SUPPORT_SESSION_DIALOGUES_HPP

// A table of a session's dialogues, and what is stored before and after. Every driver replays it:
// `hand_driver`, the blocking one and the asynchronous one.

#include "support/known_files.hpp"
#include "support/script.hpp"
#include "support/session_replies.hpp"

#include <filexfer/error.hpp>

#include <string>
#include <system_error>
#include <vector>

namespace test {

struct session_dialogue {
  std::string name;
  dialogue talk;
  std::error_code ec{};              // of the whole session
  std::vector<known_file> before{};  // stored under "0", "1", ... beforehand
  std::vector<std::string> after{};  // entries at the end
};

// Dialogues of a session with `max_size` 1,000,000 and default options otherwise.
inline std::vector<session_dialogue> good_session_dialogues() {
  using filexfer::errc;
  const std::string no_files = "No files available at the moment\n\n";
  const std::string hello_entry = hello.id + ";0;5";
  const std::string abc_entry = abc.id + ";1;3";
  std::vector<session_dialogue> all{
      {"a client that sends nothing", {}},
      {"an empty list", {C("LIST_FILES\n"), S(no_files)}},
      {"a list of two files",
       {C("LIST_FILES\n"), S(hello_entry + "\n" + abc_entry + "\n\n")},
       {},
       {hello, abc},
       {hello_entry, abc_entry}},
      {"a list by its other spellings, with unknown parameters",
       {C("LIST FILES\r\n"), S(no_files), C("LIST_FILE;mtime\n"), S(no_files),
        C("LIST FILE;prefix=a/;x=1\n"), S(no_files)}},
      {"lists of names with a prefix",
       {C("UPLOAD\n"), S(details_prompt), C("a/b;5;id=" + hello.id + "\n"),
        S("Ready to receive the file;offset=5\n" + hello.id + "\n"), C("LIST_FILES;prefix=a\n"),
        S(hello.id + ";a/b;5\n\n"), C("LIST_FILES;prefix=0\n"), S(hello_entry + "\n\n"),
        C("LIST_FILES;prefix=a/\n"), S(hello.id + ";a/b;5\n\n"), C("LIST_FILES;x;prefix=%61%2f\n"),
        S(hello.id + ";a/b;5\n\n"), C("LIST_FILES;prefix=a/bc\n"), S(no_files),
        C("LIST_FILES;prefix=%g0\n"), S(refusal(errc::bad_name)), C("LIST_FILES;prefix=b\n"),
        S(no_files)},
       {},
       {hello},
       {hello_entry, hello.id + ";a/b;5"}},
      {"`have` requests for files that are stored and for one that is not",
       {C("UPLOAD\n"), S(details_prompt), C("again;5;have;id=" + hello.id + "\n"),
        S(hello.id + "\n"), C("UPLOAD\n"), S(details_prompt),
        C("again;4;id=" + hello.id + ";have\n"), S(refusal(errc::not_found)), C("UPLOAD\n"),
        S(details_prompt), C("new;3;id=" + abc.id + ";have\n"), S(refusal(errc::not_found)),
        C("LIST_FILES\n"), S(hello_entry + "\n" + hello.id + ";again;5\n\n")},
       {},
       {hello},
       {hello_entry, hello.id + ";again;5"}},
      {"features", {C("FEATURES\n"), S(all_features + "max-size=1000000\n\n")}},
      {"an upload that is then listed and fetched",
       {C("UPLOAD\n"), S(details_prompt), C("a;b.txt;5\n"), S(refusal(errc::bad_size)),
        C("UPLOAD\n"), S(details_prompt), C("a%3bb.txt;5;mtime=1.5\n"), S(ready_words),
        C(hello.bytes), S(hello.id + "\n"), C("LIST_FILES\n"), S(hello.id + ";a%3Bb.txt;5\n\n"),
        C("DOWNLOAD\n"), S(id_prompt), C(hello.id + "\n"),
        S(hello.id + ";a%3Bb.txt;5\n" + hello.bytes)},
       {},
       {},
       {hello.id + ";a%3Bb.txt;5"}},
      {"an upload with the id of a stored file",
       {C("UPLOAD\n"), S(details_prompt), C("again;5;id=5D41402ABC4B2A76B9719D911017C592\n"),
        S("Ready to receive the file;offset=5\n" + hello.id + "\n"), C("LIST_FILES\n"),
        S(hello.id + ";0;5\n" + hello.id + ";again;5\n\n")},
       {},
       {hello},
       {hello.id + ";0;5", hello.id + ";again;5"}},
      {"an upload with the id of a stored file of another size",
       {C("UPLOAD\n"), S(details_prompt), C("again;4;id=" + hello.id + "\n"), S(ready_words),
        C("hell"), S(refusal(errc::mismatch)), C("FEATURES\n"),
        S(all_features + "max-size=1000000\n\n")},
       {},
       {hello},
       {hello_entry}},
      {"an upload of a stored file without its id, under the same name",
       {C("UPLOAD\n"), S(details_prompt), C("0;5\n"), S(ready_words), C(hello.bytes),
        S(hello.id + "\n")},
       {},
       {hello},
       {hello_entry}},
      {"an upload that hashes to the id that it declares",
       {C("UPLOAD\n"), S(details_prompt), C("new;3;id=" + abc.id + "\n"), S(ready_words),
        C(abc.bytes), S(abc.id + "\n")},
       {},
       {},
       {abc.id + ";new;3"}},
      {"an upload that does not hash to the id that it declares",
       {C("UPLOAD\n"), S(details_prompt), C("new;3;id=" + hello.id + "\n"), S(ready_words),
        C(abc.bytes), S(refusal(errc::mismatch)), C("LIST_FILES\n"), S(no_files)}},
      {"uploads with `nowait`, and commands sent ahead after them",
       {C("UPLOAD\na;5;nowait\nhelloUPLOAD\nb;3;nowait;id=" + abc.id + "\nabcLIST_FILES\n"),
        S(details_prompt + ready_words + hello.id + "\n" + details_prompt + ready_words + abc.id +
          "\n" + hello.id + ";a;5\n" + abc.id + ";b;3\n\n")},
       {},
       {},
       {hello.id + ";a;5", abc.id + ";b;3"}},
      {"a `have` request sent ahead after the upload of its file, and a list after it",
       {C("UPLOAD\na;5;nowait\nhelloUPLOAD\nb;5;have;id=" + hello.id +
          "\nUPLOAD\nc;5;nowait\nhelloUPLOAD\n..;0;nowait\nDOWNLOAD\n" + hello.id +
          ";length=0\nLIST_FILES;prefix=c\n"),
        S(details_prompt + ready_words + hello.id + "\n" + details_prompt + hello.id + "\n" +
          details_prompt + ready_words + hello.id + "\n" + details_prompt +
          refusal(errc::bad_name) + id_prompt + hello.id + ";a;5;length=0\n" + hello.id +
          ";c;5\n\n")},
       {},
       {},
       {hello.id + ";a;5", hello.id + ";b;5", hello.id + ";c;5"}},
      {"an upload with `nowait` of a stored file",
       {C("UPLOAD\nagain;5;id=" + hello.id + ";nowait\nhello"),
        S(details_prompt + ready_words + hello.id + "\n")},
       {},
       {hello},
       {hello_entry, hello.id + ";again;5"}},
      {"uploads with `nowait` that are refused, each after its last byte",
       {C("UPLOAD\nnew;3;nowait;id=" + hello.id + "\nabc"),
        S(details_prompt + ready_words + refusal(errc::mismatch)),
        C("UPLOAD\n../new;5;nowait\nhello"), S(details_prompt + refusal(errc::bad_name)),
        C("UPLOAD\nnew;5;nowait;id=5d\nhello"), S(details_prompt + refusal(errc::bad_id)),
        C("UPLOAD\nnew;1000001;nowait\n" + pattern(1'000'001)),
        S(details_prompt + refusal(errc::too_large, 1'000'000)), C("LIST_FILES\n"), S(no_files)}},
      {"a `have` request with `nowait`, after which no bytes follow",
       {C("UPLOAD\nnew;5;nowait;have;id=" + hello.id + "\n"),
        S(details_prompt + refusal(errc::not_found)),
        C("UPLOAD\n..;5;nowait;have;id=" + hello.id + "\n"),
        S(details_prompt + refusal(errc::bad_name)), C("LIST_FILES\n"), S(no_files)}},
      {"an upload with `nowait` and a malformed size",
       {C("UPLOAD\nnew;five;nowait\n"), S(details_prompt + refusal(errc::bad_size))},
       errc::bad_size},
      {"an upload with `nowait` and malformed parameters",
       {C("UPLOAD\nnew;5;x;nowait;x\n"), S(details_prompt + refusal(errc::bad_request))},
       errc::bad_request},
      {"an upload with `nowait` and a control character in its details line",
       {C("UPLOAD\nnew\t;5;nowait\n"), S(details_prompt + refusal(errc::bad_request))},
       errc::bad_request},
      {"a client that disconnects in the middle of the bytes after `nowait`",
       {C("UPLOAD\na;5;nowait\nhelloUPLOAD\nnew;5;nowait\nhell"),
        S(details_prompt + ready_words + hello.id + "\n" + details_prompt + ready_words)},
       errc::truncated,
       {},
       {hello.id + ";a;5"}},
      {"an upload whose bytes look like commands",
       {C("UPLOAD\n"), S(details_prompt), C("new;16\n"), S(ready_words), C("EOF\nDONE\nUPLOAD\n"),
        S("532eead0f1915d2ffdb43c3d6d1c761f\n"), C("LIST_FILES\n"),
        S("532eead0f1915d2ffdb43c3d6d1c761f;new;16\n\n")},
       {},
       {},
       {"532eead0f1915d2ffdb43c3d6d1c761f;new;16"}},
      {"downloads of parts",
       {C("DOWNLOAD\n"), S(id_prompt), C(hello.id + ";offset=1\n"),
        S(hello_entry + ";offset=1\nello"), C("DOWNLOAD\n"), S(id_prompt),
        C(hello.id + ";length=2\n"), S(hello_entry + ";length=2\nhe"), C("DOWNLOAD\n"),
        S(id_prompt), C(hello.id + ";length=9;new;offset=5\n"),
        S(hello_entry + ";offset=5;length=0\n"), C("DOWNLOAD\n"), S(id_prompt),
        C(hello.id + ";offset=2;length=2\n"), S(hello_entry + ";offset=2;length=2\nll")},
       {},
       {hello},
       {hello_entry}},
      {"a client that disconnects in a line", {C("LIST_FIL")}, errc::truncated},
      {"a client that disconnects before the details line",
       {C("UPLOAD\n"), S(details_prompt)},
       errc::truncated},
      {"a client that disconnects in the id line",
       {C("DOWNLOAD\n"), S(id_prompt), C(hello.id)},
       errc::truncated},
      {"a client that disconnects before the first byte of its upload",
       {C("UPLOAD\n"), S(details_prompt), C("new;5\n"), S(ready_words)},
       errc::truncated},
      {"a client that disconnects in the middle of its upload",
       {C("UPLOAD\n"), S(details_prompt), C("new;5\n"), S(ready_words), C("hell")},
       errc::truncated},
  };
  for (const known_file& s : known_files()) {
    const auto size = std::to_string(s.bytes.size());
    const std::string up = s.id + ";some file;" + size;
    const std::string held = s.id + ";0;" + size;
    all.push_back({"an upload of " + size,
                   {C("UPLOAD\n"), S(details_prompt), C("some file;" + size + "\n"), S(ready_words),
                    C(s.bytes), S(s.id + "\n"), C("LIST_FILES\n"), S(up + "\n\n")},
                   {},
                   {},
                   {up}});
    all.push_back({"a download of " + size,
                   {C("DOWNLOAD\n"), S(id_prompt), C(s.id + "\n"), S(held + "\n" + s.bytes),
                    C("LIST_FILES\n"), S(held + "\n\n")},
                   {},
                   {s},
                   {held}});
  }
  return all;
}

}  // namespace test

#endif
