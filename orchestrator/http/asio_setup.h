// Included before every header of Asio. Internal to this folder.
//
// The thread sanitizer knows no memory fences, and GCC refuses them there. Asio's only add to the locks of its queues,
// which the sanitizer does see.
#pragma once

#if defined(__SANITIZE_THREAD__)
#define BOOST_ASIO_DISABLE_FENCED_BLOCK 1
#endif
