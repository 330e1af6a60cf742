const opened = (button, body, open) => {
  body.classList.toggle("open", open);
  button.setAttribute("aria-expanded", open);
};

document.addEventListener("click", event => {
  const row = event.target.closest(".heat button"), all = event.target.closest(".all"), copy = event.target.closest(".copy");
  if (row) opened(row, row.closest("tbody"), !row.closest("tbody").classList.contains("open"));
  if (all) {
    const rows = [...all.nextElementSibling.querySelectorAll("tbody button")];
    const open = !rows.every(button => button.closest("tbody").classList.contains("open"));
    rows.forEach(button => opened(button, button.closest("tbody"), open));
    all.setAttribute("aria-expanded", open);
  }
  if (copy) {
    const text = copy.previousElementSibling, range = document.createRange();
    range.selectNodeContents(text);
    getSelection().removeAllRanges();
    getSelection().addRange(range);
    navigator.clipboard?.writeText(text.textContent).then(() => { copy.textContent = "Copied"; }, () => {});
  }
});

const hint = box => box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
const boxes = document.querySelectorAll(".scroll");
boxes.forEach(box => box.addEventListener("scroll", () => hint(box), { passive: true }));
const hints = () => boxes.forEach(hint);
addEventListener("resize", hints);
document.addEventListener("toggle", hints, true);
hints();
