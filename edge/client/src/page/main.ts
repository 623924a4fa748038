import "../sdk";
