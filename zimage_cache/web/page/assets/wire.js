// Our own API: the body of an answer, or the error it tells. A server that is gone is an error of the same shape.
"use strict";
zimage.call = async (path, options = {}) => {
  const lost = () => ({ code: "unreachable", message: zimage.say("wire_lost") });
  try {
    const answer = await fetch(path, options);
    if (answer.status === 204) return null;
    const body = await answer.json();
    if (answer.ok) return body;
    throw body.error ?? lost();
  } catch (error) {
    // Ours, or an abort somebody wanted; anything else is a network's or a proxy's.
    throw error.code && error.message && !(error instanceof Error) ? error : lost();
  }
};
