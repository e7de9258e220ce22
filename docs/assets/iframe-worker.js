// Pages opened from the disk may not start workers, which the search needs: there, a hidden frame takes the worker's place.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(address) {
      super();
      const url = new URL(address, document.baseURI).href;
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      this.frame.title = "search";
      this.frame.srcdoc = "<!doctype html><title>search</title>";
      this.ready = new Promise((done, failed) => {
        this.frame.addEventListener("load", () => {
          const inside = this.frame.contentWindow;
          inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
          inside.importScripts = (...scripts) => scripts.reduce((chain, script) => chain.then(() => load(script)), Promise.resolve());
          const load = (source) => new Promise((loaded, broken) => {
            const script = inside.document.createElement("script");
            script.src = new URL(source, url).href;
            script.onload = loaded;
            script.onerror = broken;
            inside.document.head.append(script);
          });
          load(url).then(done, failed);
        });
      });
      document.body.append(this.frame);
    }

    postMessage(data) {
      this.ready.then(() => this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data })));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
