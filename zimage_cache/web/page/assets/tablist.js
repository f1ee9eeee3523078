// The page's tabs: opens one from a script, adds arrow keys, and calls listeners when an element becomes visible.
"use strict";
zimage.tablist = (() => {
  const LIST = '#zi-tabs [role="tab"]';
  const button = (name) => document.getElementById(`zi-tab-${name}-button`);
  const seen = (root) => !document.hidden && root.checkVisibility();

  // Moves the focus too, because the pressed button is on the tab that is hidden.
  function open(name) {
    button(name).click();
    button(name).focus({ preventScroll: true });
    window.scrollTo({ top: 0 });
  }

  function step(key, tabs, at) {
    const last = tabs.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[key];
    return tabs[to];
  }

  document.addEventListener("keydown", (event) => {
    const tab = event.target.closest?.(LIST);
    const tabs = [...document.querySelectorAll(LIST)];
    const next = tab && step(event.key, tabs, tabs.indexOf(tab));
    if (!next) return;
    event.preventDefault();
    next.focus();
    next.click();
  });

  // Calls *listener* each time *root* becomes visible: its tab is opened, or the page is shown again.
  function onSeen(root, listener) {
    let was = false;
    const look = () => {
      const is = seen(root);
      if (is && !was) listener();
      was = is;
    };
    new IntersectionObserver(look).observe(root);
    document.addEventListener("visibilitychange", look);
  }

  return { open, seen, onSeen };
})();
