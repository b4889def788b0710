package clew.client;

import java.util.List;
import java.util.Map;

/** JSON of maps, lists, strings, numbers and booleans, in ASCII. */
final class Json {
  private Json() {}

  static String write(Object value) {
    StringBuilder to = new StringBuilder();
    write(value, to);
    return to.toString();
  }

  private static void write(Object value, StringBuilder to) {
    if (value instanceof Map<?, ?> map) {
      String separator = "{";
      for (Map.Entry<?, ?> entry : map.entrySet()) {
        to.append(separator);
        string((String) entry.getKey(), to);
        to.append(':');
        write(entry.getValue(), to);
        separator = ",";
      }
      to.append(map.isEmpty() ? "{}" : "}");
    } else if (value instanceof List<?> list) {
      String separator = "[";
      for (Object item : list) {
        to.append(separator);
        write(item, to);
        separator = ",";
      }
      to.append(list.isEmpty() ? "[]" : "]");
    } else if (value instanceof String text) {
      string(text, to);
    } else {
      to.append(value);
    }
  }

  private static void string(String text, StringBuilder to) {
    to.append('"');
    for (char unit : text.toCharArray()) {
      if (unit >= ' ' && unit <= '~' && unit != '"' && unit != '\\') {
        to.append(unit);
      } else {
        to.append(String.format("\\u%04x", (int) unit));
      }
    }
    to.append('"');
  }
}
