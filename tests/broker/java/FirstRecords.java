import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * What a Java consumer with a group's commits reads first, for each line "group topic partition" of a file; END where it
 * comes to the end without a record. The reset policy is the second argument. Nothing is committed.
 */
public final class FirstRecords {
    public static void main(String[] arguments) throws Exception {
        for (String line : Files.readAllLines(Path.of(arguments[2]))) {
            String[] words = line.split(" ");
            Properties settings = new Properties();
            settings.put("bootstrap.servers", arguments[0]);
            settings.put("auto.offset.reset", arguments[1]);
            settings.put("group.id", words[0]);
            settings.put("isolation.level", "read_committed");
            settings.put("enable.auto.commit", "false");
            settings.put("fetch.max.wait.ms", "5"); // what is asked next waits behind a fetch
            TopicPartition place = new TopicPartition(words[1], Integer.parseInt(words[2]));
            StringDeserializer text = new StringDeserializer();
            try (KafkaConsumer<String, String> consumer = new KafkaConsumer<>(settings, text, text)) {
                consumer.assign(List.of(place));
                System.out.println("first " + line + " " + first(consumer, place));
            }
        }
    }

    private static String first(KafkaConsumer<String, String> consumer, TopicPartition place) {
        while (true) {
            ConsumerRecords<String, String> records = consumer.poll(Duration.ofMillis(50));
            for (ConsumerRecord<String, String> record : records) {
                return record.value();
            }
            long end = consumer.endOffsets(List.of(place)).get(place);
            if (consumer.position(place) >= end) {
                return "END";
            }
        }
    }
}
